/* K steps of the heat equation along time on a CPU, forward and backward: every field is read once and written once.
 *
 * Away from the ends K steps are one convolution with 2K + 1 coefficients, the same on both sides; at a video's own ends
 * the rows are mirrored, again and again where the video is shorter than K clips. A piece of at most 64 channels is done
 * row by row, its sums in registers; the 2K + 1 rows in use fit the first-level caches.
 *
 * Fields are (B, L, d), channels last; rates are (d). n[b] clips of video b are valid; beyond them the field is carried
 * along unchanged. Definition: rdmf/model/diffusion.py; called by rdmf/model/native.py.
 */
#include <stdlib.h>

#include "numbers.h"

enum { PIECE = 64, LINE = 16, AHEAD = 2 }; /* channels a piece, numbers a cache line, rows to fetch ahead */

INLINE int64_t fold(int64_t i, int64_t n) {
    while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return i;
}

/* Coefficients 0 .. K of (1 + r (z - 2 + 1/z))^K for w channels: (K + 1, w). In double: for small r they cancel. */
static void coefficients(int64_t w, int64_t K, const float *rate, float *h, double *work) {
    double *old = work, *new = work + (K + 2) * w;
    memset(work, 0, 2 * (K + 2) * w * sizeof(double));
    for (int64_t c = 0; c < w; c++) old[c] = 1;
    for (int64_t k = 0; k < K; k++) {
        for (int64_t m = 0; m <= k + 1; m++)
            for (int64_t c = 0; c < w; c++) {
                double r = rate[c], sides = old[(m ? m - 1 : 1) * w + c] + old[(m + 1) * w + c];
                new[m * w + c] = old[m * w + c] + r * (sides - 2 * old[m * w + c]);
            }
        double *swap = old;
        old = new, new = swap;
    }
    for (int64_t i = 0; i < (K + 1) * w; i++) h[i] = (float)old[i];
}

/* Row i of the K steps: so many vectors of channels where there are any, else w channels one by one. */
INLINE void heat_row(int64_t w, int vectors, int64_t K, int64_t n, int64_t stride, const float *x, int64_t i, const float *h,
                     float *y) {
    if (vectors) {
        Vector sum[PIECE / LANES];
        for (int64_t c = 0; c < w; c += LINE) __builtin_prefetch(x + (i + K + AHEAD) * stride + c);
        for (int v = 0; v < vectors; v++)
            sum[v] = *(const Vector *)(h + v * LANES) * *(const Vector *)(x + i * stride + v * LANES);
        for (int64_t m = 1; m <= K; m++) {
            const float *lo = x + fold(i - m, n) * stride, *hi = x + fold(i + m, n) * stride, *at = h + m * w;
            for (int v = 0; v < vectors; v++)
                sum[v] += *(const Vector *)(at + v * LANES) *
                          (*(const Vector *)(lo + v * LANES) + *(const Vector *)(hi + v * LANES));
        }
        for (int v = 0; v < vectors; v++) *(Vector *)(y + v * LANES) = sum[v];
        return;
    }
    for (int64_t c = 0; c < w; c++) y[c] = h[c] * x[i * stride + c];
    for (int64_t m = 1; m <= K; m++) {
        const float *lo = x + fold(i - m, n) * stride, *hi = x + fold(i + m, n) * stride;
        for (int64_t c = 0; c < w; c++) y[c] += h[m * w + c] * (lo[c] + hi[c]);
    }
}

INLINE void forward_piece(int64_t w, int vectors, int64_t K, int64_t n, int64_t stride, const float *x, const float *h,
                          float *y) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < w; c += LINE) __builtin_prefetch(y + (i + AHEAD) * stride + c, 1);
        heat_row(w, vectors, K, n, stride, x, i, h, y + i * stride);
    }
}

/* The map is its own adjoint. With z = K - 1 steps of the gradient g, the field's gradient is the K-th step,
 * z + rate * lap(z), and the rate's is K * sum(x * lap(z)): one convolution gives both. h: coefficients of K - 1 steps;
 * ring: 4 rows of z. */
INLINE void backward_piece(int64_t w, int vectors, int64_t K, int64_t n, int64_t stride, const float *x, const float *g,
                           const float *h, const float *restrict rate, float *to_x, float *restrict to_rate, float *ring) {
    for (int64_t i = 0; i <= n; i++) {
        for (int64_t c = 0; c < w; c += LINE) {
            __builtin_prefetch(to_x + (i + AHEAD) * stride + c, 1);
            __builtin_prefetch(x + (i + AHEAD) * stride + c);
        }
        if (i < n) heat_row(w, vectors, K - 1, n, stride, g, i, h, ring + (i & 3) * w);
        int64_t j = i - 1;
        if (j < 0) continue;
        const float *mid = ring + (j & 3) * w, *lo = j ? ring + ((j - 1) & 3) * w : mid, *hi = i < n ? ring + (i & 3) * w : mid;
        const float *restrict was = x + j * stride;
        float *restrict to = to_x + j * stride;
        for (int64_t c = 0; c < w; c++) {
            float lap = (lo[c] + hi[c]) - 2.0f * mid[c];
            to[c] = mid[c] + rate[c] * lap;
            to_rate[c] += (float)K * lap * was[c];
        }
    }
}

static int64_t piece(int64_t left) { return left >= 64 ? 64 : left >= 32 ? 32 : left >= 16 ? 16 : left; }

#define BY_WIDTH(call)                    \
    switch (w) {                          \
    case 64: call(64, 64 / LANES); break; \
    case 32: call(32, 32 / LANES); break; \
    case 16: call(16, 16 / LANES); break; \
    default: call(w, 0);                  \
    }

/* Runs the body for every video and piece of channels; steps: how many steps' coefficients it needs. Names: at (the
 * piece's first number in a field), from and w (its channels), h, ring. */
#define PIECES(steps, body)                                                                    \
    int failed = 0;                                                                            \
    int64_t pieces = 0;                                                                        \
    for (int64_t c = 0; c < d; c += piece(d - c)) pieces++;                                    \
    (void)threads;                                                                             \
    _Pragma("omp parallel num_threads(threads) if (threads > 1)") {                            \
        float *h = aligned_alloc(64, ((steps) + 1 + 4) * PIECE * sizeof(float));               \
        double *work = malloc(2 * ((steps) + 2) * PIECE * sizeof(double));                     \
        float *ring = h + ((steps) + 1) * PIECE;                                               \
        int64_t had = -1;                                                                      \
        (void)ring;                                                                            \
        if (!h || !work) failed = 1;                                                           \
        _Pragma("omp for") for (int64_t job = 0; job < pieces * B; job++) {                    \
            int64_t b = job % B, k = job / B, from = 0, w;                                     \
            if (!h || !work) continue;                                                         \
            while (k--) from += piece(d - from);                                               \
            w = piece(d - from);                                                               \
            if (had != from) coefficients(w, steps, rate + from, h, work), had = from;         \
            int64_t at = b * L * d + from;                                                     \
            body                                                                               \
        }                                                                                      \
        free(h);                                                                               \
        free(work);                                                                            \
    }                                                                                          \
    return failed;

static void carry(const float *from, float *to, int64_t valid, int64_t L, int64_t d, int64_t w) {
    for (int64_t i = valid; i < L; i++) memcpy(to + i * d, from + i * d, w * sizeof(float));
}

/* K >= 0. y: (B, L, d). Returns 0, or 1 where there was no memory. */
int heat_forward(int64_t B, int64_t L, int64_t d, int64_t K, int threads, const int64_t *n, const float *rate,
                 const float *x, float *y) {
#define FORWARD(w, vectors) forward_piece(w, vectors, K, n[b], d, x + at, h, y + at)
    PIECES(K, carry(x + at, y + at, n[b], L, d, w); BY_WIDTH(FORWARD))
}

/* K >= 1. g: (B, L, d), gradient of the result; to_x: (B, L, d); to_rate: (B, d), zero at the start. */
int heat_backward(int64_t B, int64_t L, int64_t d, int64_t K, int threads, const int64_t *n, const float *rate,
                  const float *x, const float *g, float *to_x, float *to_rate) {
#define BACKWARD(w, vectors) \
    backward_piece(w, vectors, K, n[b], d, x + at, g + at, h, rate + from, to_x + at, to_rate + b * d + from, ring)
    PIECES(K - 1, carry(g + at, to_x + at, n[b], L, d, w); if (n[b] > 0) BY_WIDTH(BACKWARD))
}
