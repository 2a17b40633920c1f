/* Dropout, GELU with dropout, and a dropped branch added to a sum: forward and backward, a pass each.
 *
 * No mask is kept: the backward pass draws again (numbers.h). GELU's backward pass computes the value again from its
 * input. Called by rdmf/model/native.py; definitions: rdmf/model/dropout.py.
 */
#include "numbers.h"

enum { PIECE = 1024 }; /* numbers worked on at a time: draws and sums in between stay in the first-level cache */

/* The normal distribution function and its density, by Abramowitz and Stegun 7.1.26: off by 1e-7. */
INLINE float normal(float x, float *density) {
    float size = x < 0 ? -x : x, bell = exp_below(-0.5f * x * x);
    float t = 1.0f / (1.0f + 0.3275911f * 0.707106781f * size);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float tail = 0.5f * p * t * bell;
    *density = 0.398942280f * bell;
    return x < 0 ? tail : 1.0f - tail;
}

enum { DROP, GELU, GELU_BACK, ADD };

/* What becomes of n numbers; draws 0: none are dropped. side: the gradient (GELU_BACK) or the sum (ADD). */
INLINE void work(int what, int from, int side_kind, int into, int64_t n, float grow, const int16_t *draws, int least,
                 const void *x, const void *side, void *y) {
    for (int64_t i = 0; i < n; i++) {
        float value = load(from, x, i), other = what == GELU_BACK || what == ADD ? load(side_kind, side, i) : 0, density;
        if (what == GELU) value *= normal(value, &density);
        if (what == GELU_BACK) {
            float share = normal(value, &density);
            value = other * (share + value * density);
        }
        value *= grow;
        value = draws == 0 || draws[i] >= least ? value : 0;
        store(into, y, i, what == ADD ? other + value : value);
    }
}

#define WITH_DRAWS(what, from, side_kind, into)                                               \
    if (dropped) work(what, from, side_kind, into, n, grow, draws, least, px, ps, py);       \
    else work(what, from, side_kind, into, n, 1.0f, 0, least, px, ps, py);
#define KIND(what, from, side_kind, into)                                    \
    if (x_kind == from && s_kind == side_kind && y_kind == into) {          \
        WITH_DRAWS(what, from, side_kind, into)                             \
        continue;                                                           \
    }

/* Kinds of x, side and y are FLOAT32 or BFLOAT16. Number i of `count` draws from pair i / 2. Returns 0, or 2 where the
 * kinds do not go together. */
int pointwise(int64_t count, int what, int x_kind, int s_kind, int y_kind, int64_t dropped, int threads,
              const uint32_t *seed, const void *x, const void *side, void *y) {
    float grow = 65536.0f / (float)(65536 - dropped);
    int least = (int)dropped - 32768;
    int64_t x_bytes = x_kind == FLOAT32 ? 4 : 2, s_bytes = s_kind == FLOAT32 ? 4 : 2, y_bytes = y_kind == FLOAT32 ? 4 : 2;
    int unknown = 0;
    (void)threads;
    _Pragma("omp parallel for num_threads(threads) if (threads > 1 && count > 65536)")
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t n = count - at < PIECE ? count - at : PIECE;
        int16_t draws[PIECE + 1];
        const void *px = (const char *)x + at * x_bytes, *ps = side ? (const char *)side + at * s_bytes : 0;
        void *py = (char *)y + at * y_bytes;
        if (dropped) draw(n, (uint32_t)(at / 2), seed, draws);
        if (what == DROP) {
            KIND(DROP, FLOAT32, FLOAT32, FLOAT32)
            KIND(DROP, FLOAT32, FLOAT32, BFLOAT16)
            KIND(DROP, BFLOAT16, FLOAT32, BFLOAT16)
        } else if (what == GELU) {
            KIND(GELU, FLOAT32, FLOAT32, FLOAT32)
            KIND(GELU, BFLOAT16, FLOAT32, BFLOAT16)
        } else if (what == GELU_BACK) {
            KIND(GELU_BACK, FLOAT32, FLOAT32, FLOAT32)
            KIND(GELU_BACK, BFLOAT16, BFLOAT16, BFLOAT16)
        } else {
            KIND(ADD, FLOAT32, FLOAT32, FLOAT32)
            KIND(ADD, BFLOAT16, FLOAT32, FLOAT32)
            KIND(ADD, BFLOAT16, BFLOAT16, BFLOAT16)
        }
        unknown = 2;
    }
    return unknown;
}
