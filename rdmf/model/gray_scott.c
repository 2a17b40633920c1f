/* The split integrator's steps on a CPU, forward and backward: one pass over memory a step.
 *
 * Fields are (B, L, d), channels last, so that the inner loops run over neighbouring numbers and vectorise; rates are
 * (B, d). n[b] clips of video b are valid; beyond them the fields are carried along unchanged. Channel group g of G
 * sees neighbours 2^g clips away; a neighbour beyond the video's own ends gives no flux, for it is replaced by the clip
 * itself. Definition: rdmf/model/reaction.py; called by rdmf/model/native.py.
 */
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_thread_num() 0
#endif

typedef const float *restrict in;
typedef float *restrict out;

static inline void step_row(int64_t from, int64_t to, float eta, in a, in a_lo, in a_hi, in s, in s_lo, in s_hi,
                            in rate_a, in rate_s, in feed, in decay, out a_next, out s_next) {
    for (int64_t c = from; c < to; c++) {
        float a1 = a[c] + rate_a[c] * ((a_lo[c] - a[c]) + (a_hi[c] - a[c]));
        float s1 = s[c] + rate_s[c] * ((s_lo[c] - s[c]) + (s_hi[c] - s[c]));
        float left = s1 / (1.0f + eta * a1 * a1);
        a_next[c] = a1 - decay[c] * a1 + (s1 - left);
        s_next[c] = left + feed[c] * (1.0f - s1);
    }
}

static inline void back_row(int64_t from, int64_t to, float eta, in a, in a_lo, in a_hi, in s, in s_lo, in s_hi,
                            in rate_a, in rate_s, in feed, in decay, in to_a, in to_s, out to_a1, out to_s1,
                            out to_rate_a, out to_rate_s, out to_feed, out to_decay) {
    for (int64_t c = from; c < to; c++) {
        float lap_a = (a_lo[c] - a[c]) + (a_hi[c] - a[c]), lap_s = (s_lo[c] - s[c]) + (s_hi[c] - s[c]);
        float a1 = a[c] + rate_a[c] * lap_a, s1 = s[c] + rate_s[c] * lap_s;
        float kept = 1.0f / (1.0f + eta * a1 * a1), x = to_a[c], y = to_s[c];
        float u = x - decay[c] * x + (x - y) * (2.0f * eta * a1 * s1 * kept * kept);
        float v = x - kept * x + (kept - feed[c]) * y;
        to_decay[c] -= x * a1;
        to_feed[c] += y * (1.0f - s1);
        to_rate_a[c] += u * lap_a;
        to_rate_s[c] += v * lap_s;
        to_a1[c] = u;
        to_s1[c] = v;
    }
}

static inline void spread_row(int64_t from, int64_t to, in w, in w_lo, in w_hi, in rate, out next) {
    for (int64_t c = from; c < to; c++) next[c] = w[c] + rate[c] * ((w_lo[c] - w[c]) + (w_hi[c] - w[c]));
}

/* Runs the body for every valid clip i and channel group; names the group's channels and the neighbours' rows. */
#define EVERYWHERE(body)                                                                                   \
    for (int64_t i = 0; i < valid; i++)                                                                    \
        for (int64_t g = 0; g < G; g++) {                                                                  \
            int64_t reach = (int64_t)1 << g, at = i * d;                                                   \
            int64_t lo = (i >= reach ? i - reach : i) * d, hi = (i + reach < valid ? i + reach : i) * d;   \
            int64_t from = g * group < d ? g * group : d, to = from + group < d ? from + group : d;        \
            body;                                                                                          \
        }

/* states: (steps, 2, B, L, d), the fields after each step. */
void gray_scott_forward(int64_t B, int64_t L, int64_t d, int64_t steps, int64_t G, float eta, int threads,
                        const int64_t *n, const float *a0, const float *s0, const float *rate_a, const float *rate_s,
                        const float *feed, const float *decay, float *states) {
    int64_t size = L * d, group = (d + G - 1) / G;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t b = 0; b < B; b++) {
        int64_t valid = n[b], r = b * d;
        const float *a = a0 + b * size, *s = s0 + b * size;
        for (int64_t t = 0; t < steps; t++) {
            float *a_next = states + ((2 * t) * B + b) * size, *s_next = states + ((2 * t + 1) * B + b) * size;
            EVERYWHERE(step_row(from, to, eta, a + at, a + lo, a + hi, s + at, s + lo, s + hi, rate_a + r, rate_s + r,
                                feed + r, decay + r, a_next + at, s_next + at))
            memcpy(a_next + valid * d, a + valid * d, (size - valid * d) * sizeof(float));
            memcpy(s_next + valid * d, s + valid * d, (size - valid * d) * sizeof(float));
            a = a_next;
            s = s_next;
        }
    }
}

/* to_a, to_s: (B, L, d), gradients of the result, turned in place into those of the start; to_rate_a ... to_decay:
 * (B, d), zero at the start; scratch: (threads, 2, L, d). */
void gray_scott_backward(int64_t B, int64_t L, int64_t d, int64_t steps, int64_t G, float eta, int threads,
                         const int64_t *n, const float *a0, const float *s0, const float *rate_a, const float *rate_s,
                         const float *feed, const float *decay, const float *states, float *to_a, float *to_s,
                         float *to_rate_a, float *to_rate_s, float *to_feed, float *to_decay, float *scratch) {
    int64_t size = L * d, group = (d + G - 1) / G;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t b = 0; b < B; b++) {
        int64_t valid = n[b], r = b * d;
        float *u = scratch + 2 * omp_get_thread_num() * size, *v = u + size, *ga = to_a + b * size, *gs = to_s + b * size;
        for (int64_t t = steps - 1; t >= 0; t--) {
            const float *a = t ? states + ((2 * t - 2) * B + b) * size : a0 + b * size;
            const float *s = t ? states + ((2 * t - 1) * B + b) * size : s0 + b * size;
            EVERYWHERE(back_row(from, to, eta, a + at, a + lo, a + hi, s + at, s + lo, s + hi, rate_a + r, rate_s + r,
                                feed + r, decay + r, ga + at, gs + at, u + at, v + at, to_rate_a + r, to_rate_s + r,
                                to_feed + r, to_decay + r))
            /* The spread operator is its own adjoint. */
            EVERYWHERE(spread_row(from, to, u + at, u + lo, u + hi, rate_a + r, ga + at);
                       spread_row(from, to, v + at, v + lo, v + hi, rate_s + r, gs + at))
        }
    }
}
