/* N steps of the Gray-Scott system on a CPU, forward and backward: every field is read once and written once.
 *
 * Channels never mix inside the dynamics and group g's clips see only clips 2^g away, so the work falls apart into
 * lines: one video, a piece of at most 64 channels of one group, and the clips k, k + 2^g, k + 2 * 2^g, ... A line is
 * walked once along time with all N steps under way at once, step t some rows behind step t - 1; what is in flight fits
 * the first-level caches. The backward pass computes the states again in the same walk rather than reading N of them
 * from memory: arithmetic is cheaper here than bytes, and no state need be kept.
 *
 * Step t stays two rows behind step t - 1 although one would do: so no row waits for the one computed just before it.
 *
 * Fields are (B, L, d), channels last; rates are (B, d). n[b] clips of video b are valid; beyond them the fields are
 * carried along unchanged. A neighbour beyond the video's own ends is replaced by the clip itself: no flux.
 * Definition: rdmf/model/reaction.py; called by rdmf/model/native.py.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef const float *restrict in;
typedef float *restrict out;
#define INLINE static inline __attribute__((always_inline))
#define CHANNELS for (int64_t c = 0; c < w; c++)
#ifdef __clang__
#define VECTOR _Pragma("clang loop vectorize(assume_safety)")
#else
#define VECTOR _Pragma("GCC ivdep")
#endif

enum { PIECE = 64, AHEAD = 2 }; /* channels a line; rows to fetch ahead: strided rows are not foreseen by the hardware */

/* One line: its rows are `stride` floats apart in every field, its rates lie side by side. */
typedef struct {
    int64_t rows, stride, steps;
    float eta;
    const float *a, *s, *rate_a, *rate_s, *feed, *decay;
} Line;

INLINE void step_row(int64_t w, int euler, float eta, in a_lo, in a, in a_hi, in s_lo, in s, in s_hi, in rate_a,
                     in rate_s, in feed, in decay, out a_next, out s_next) {
    VECTOR CHANNELS {
        float lap_a = (a_lo[c] + a_hi[c]) - 2.0f * a[c], lap_s = (s_lo[c] + s_hi[c]) - 2.0f * s[c];
        float a1 = a[c] + rate_a[c] * lap_a, s1 = s[c] + rate_s[c] * lap_s;
        if (euler) {
            float reacted = eta * a[c] * a[c] * s[c];
            a_next[c] = a1 + (reacted - decay[c] * a[c]);
            s_next[c] = s1 + (feed[c] * (1.0f - s[c]) - reacted);
        } else {
            float left = s1 / (1.0f + eta * a1 * a1);
            a_next[c] = a1 - decay[c] * a1 + (s1 - left);
            s_next[c] = left + feed[c] * (1.0f - s1);
        }
    }
}

/* Euler: the gradients x, y after a step (with their neighbours) and the state before it, to the gradients before it. */
INLINE void euler_back_row(int64_t w, float eta, in a, in s, in x_lo, in x, in x_hi, in y_lo, in y, in y_hi, in rate_a,
                           in rate_s, in feed, in decay, out to_a, out to_s, out to_rate_a, out to_rate_s, out to_feed,
                           out to_decay) {
    VECTOR CHANNELS {
        /* The Laplacian is its own adjoint: summed along the line, x lap(a) = lap(x) a. */
        float lap_x = (x_lo[c] + x_hi[c]) - 2.0f * x[c], lap_y = (y_lo[c] + y_hi[c]) - 2.0f * y[c];
        float pull = eta * a[c] * (x[c] - y[c]);
        to_a[c] = x[c] + rate_a[c] * lap_x - decay[c] * x[c] + 2.0f * pull * s[c];
        to_s[c] = y[c] + rate_s[c] * lap_y - feed[c] * y[c] + pull * a[c];
        to_rate_a[c] += lap_x * a[c];
        to_rate_s[c] += lap_y * s[c];
        to_feed[c] += y[c] * (1.0f - s[c]);
        to_decay[c] -= x[c] * a[c];
    }
}

/* Split: from the gradients after a step to those after its diffusion, u and v. The gradients are x and y themselves
 * (`last`), or what the following step's diffusion makes of its own u and v (x_lo ... y_hi). */
INLINE void split_back_row(int64_t w, int last, float eta, in a_lo, in a, in a_hi, in s_lo, in s, in s_hi, in x_lo, in x,
                           in x_hi, in y_lo, in y, in y_hi, in rate_a, in rate_s, in feed, in decay, out u, out v,
                           out to_rate_a, out to_rate_s, out to_feed, out to_decay) {
    VECTOR CHANNELS {
        float lap_a = (a_lo[c] + a_hi[c]) - 2.0f * a[c], lap_s = (s_lo[c] + s_hi[c]) - 2.0f * s[c];
        float a1 = a[c] + rate_a[c] * lap_a, s1 = s[c] + rate_s[c] * lap_s;
        float kept = 1.0f / (1.0f + eta * a1 * a1), p = x[c], q = y[c];
        if (!last) {
            p += rate_a[c] * ((x_lo[c] + x_hi[c]) - 2.0f * x[c]);
            q += rate_s[c] * ((y_lo[c] + y_hi[c]) - 2.0f * y[c]);
        }
        float u1 = p - decay[c] * p + (p - q) * (2.0f * eta * a1 * s1 * kept * kept);
        float v1 = p - feed[c] * q - kept * (p - q);
        to_rate_a[c] += u1 * lap_a;
        to_rate_s[c] += v1 * lap_s;
        to_feed[c] += q * (1.0f - s1);
        to_decay[c] -= p * a1;
        u[c] = u1;
        v[c] = v1;
    }
}

INLINE void spread_row(int64_t w, in x_lo, in x, in x_hi, in rate, out next) {
    VECTOR CHANNELS next[c] = x[c] + rate[c] * ((x_lo[c] + x_hi[c]) - 2.0f * x[c]);
}

INLINE void fetch(int64_t w, const float *row, int write) {
    for (int64_t c = 0; c < w; c += 16) {
        if (write) __builtin_prefetch(row + c, 1);
        else __builtin_prefetch(row + c, 0);
    }
}

/* A field pair's rows somewhere: whole in memory, or the last few in a ring of 2^k rows, a before s. */
typedef struct {
    const float *a, *s;
    int64_t stride, wrap;
} Rows;

INLINE const float *at_a(Rows r, int64_t i) { return r.a + (i & r.wrap) * r.stride; }
INLINE const float *at_s(Rows r, int64_t i) { return r.s + (i & r.wrap) * r.stride; }
INLINE Rows ring_of(const float *start, int64_t rows, int64_t w) { return (Rows){start, start + w, 2 * w, rows - 1}; }
#define LO(i) ((i) > 0 ? (i)-1 : 0)
#define HI(i) ((i) + 1 < m ? (i) + 1 : (i))
#define THREE(field, r, i) at_##field(r, LO(i)), at_##field(r, i), at_##field(r, HI(i))
#define RATES line.rate_a, line.rate_s, line.feed, line.decay

INLINE void line_forward(int64_t w, int euler, Line line, float *a_out, float *s_out, float *rings) {
    int64_t m = line.rows, stride = line.stride, N = line.steps;
    for (int64_t i = 0; i < m + 2 * (N - 1); i++) {
        if (i + AHEAD < m) {
            int64_t to = (i + AHEAD) * stride;
            fetch(w, line.a + to, 0), fetch(w, line.s + to, 0), fetch(w, a_out + to, 1), fetch(w, s_out + to, 1);
        }
        Rows from = {line.a, line.s, stride, -1};
        for (int64_t t = 1; t <= N; t++) {
            float *ring = rings + (t - 1) * 8 * w;
            int64_t j = i - 2 * (t - 1);
            if (j >= 0 && j < m) {
                float *row = ring + (j & 3) * 2 * w;
                step_row(w, euler, line.eta, THREE(a, from, j), THREE(s, from, j), RATES,
                         t == N ? a_out + j * stride : row, t == N ? s_out + j * stride : row + w);
            }
            from = ring_of(ring, 4, w);
        }
    }
}

/* Rows that must be kept of the state after step t of N: from its making to its use on the way back. */
static int64_t kept_rows(int64_t t, int64_t N) {
    int64_t rows = 4;
    while (rows < 4 * (N - t)) rows *= 2;
    return rows;
}

INLINE void line_backward(int64_t w, int euler, Line line, const float *x, const float *y, float *to_a, float *to_s,
                          float *to_rate_a, float *to_rate_s, float *to_feed, float *to_decay, float *rings) {
    int64_t m = line.rows, stride = line.stride, N = line.steps;
    Rows given = {x, y, stride, -1};
    for (int64_t i = 0; i < m + 4 * N - 2; i++) {
        if (i + AHEAD < m) {
            int64_t to = (i + AHEAD) * stride;
            fetch(w, line.a + to, 0), fetch(w, line.s + to, 0), fetch(w, x + to, 0), fetch(w, y + to, 0);
            fetch(w, to_a + to, 1), fetch(w, to_s + to, 1);
        }
        Rows states[N];
        states[0] = (Rows){line.a, line.s, stride, -1};
        float *free_rows = rings;
        for (int64_t t = 1; t < N; t++) {
            int64_t size = kept_rows(t, N), j = i - 2 * (t - 1);
            states[t] = ring_of(free_rows, size, w);
            if (j >= 0 && j < m) {
                float *row = free_rows + (j & (size - 1)) * 2 * w;
                step_row(w, euler, line.eta, THREE(a, states[t - 1], j), THREE(s, states[t - 1], j), RATES, row, row + w);
            }
            free_rows += size * 2 * w;
        }
        Rows after = given; /* gradients after the step: themselves (Euler), or before that step's diffusion (split) */
        for (int64_t t = N; t >= 1; t--) {
            int64_t q = i - 4 * N + 2 + 2 * t;
            Rows state = states[t - 1];
            if (q >= 0 && q < m) {
                float *row = free_rows + (q & 3) * 2 * w;
                if (euler)
                    euler_back_row(w, line.eta, at_a(state, q), at_s(state, q), THREE(a, after, q), THREE(s, after, q),
                                   RATES, t == 1 ? to_a + q * stride : row, t == 1 ? to_s + q * stride : row + w,
                                   to_rate_a, to_rate_s, to_feed, to_decay);
                else if (t == N)
                    split_back_row(w, 1, line.eta, THREE(a, state, q), THREE(s, state, q), THREE(a, after, q),
                                   THREE(s, after, q), RATES, row, row + w, to_rate_a, to_rate_s, to_feed, to_decay);
                else
                    split_back_row(w, 0, line.eta, THREE(a, state, q), THREE(s, state, q), THREE(a, after, q),
                                   THREE(s, after, q), RATES, row, row + w, to_rate_a, to_rate_s, to_feed, to_decay);
            }
            after = ring_of(free_rows, 4, w);
            free_rows += 4 * 2 * w;
        }
        int64_t q = i - 4 * N + 2;
        if (!euler && q >= 0) {
            spread_row(w, THREE(a, after, q), line.rate_a, to_a + q * stride);
            spread_row(w, THREE(s, after, q), line.rate_s, to_s + q * stride);
        }
    }
}

/* Constant widths let the compiler keep a row in whole vectors; a group's channels are cut into these. */
#define BY_WIDTH(call)      \
    switch (w) {            \
    case 64: call(64) break; \
    case 32: call(32) break; \
    case 16: call(16) break; \
    default: call(w)        \
    }

static int64_t piece(int64_t left) { return left >= 64 ? 64 : left >= 32 ? 32 : left >= 16 ? 16 : left; }

/* The channels [*from, *from + width) of the k-th piece and its group's reach; width 0 beyond the last piece. */
static int64_t find_piece(int64_t d, int64_t G, int64_t k, int64_t *from, int64_t *reach) {
    int64_t group = (d + G - 1) / G;
    for (int64_t g = 0; g * group < d; g++) {
        int64_t end = (g + 1) * group < d ? (g + 1) * group : d;
        for (int64_t c = g * group; c < end; c += piece(end - c))
            if (k-- == 0) {
                *from = c, *reach = (int64_t)1 << g;
                return piece(end - c);
            }
    }
    return 0;
}

static int64_t count_pieces(int64_t d, int64_t G) {
    int64_t k = 0, from, reach;
    while (find_piece(d, G, k, &from, &reach)) k++;
    return k;
}

static float *scratch(int64_t N) {
    int64_t rows = 4 * N;
    for (int64_t t = 1; t < N; t++) rows += kept_rows(t, N);
    return aligned_alloc(64, rows * 2 * PIECE * sizeof(float));
}

static void carry(const float *from, float *to, int64_t valid, int64_t L, int64_t d, int64_t w) {
    for (int64_t i = valid; i < L; i++) memcpy(to + i * d, from + i * d, w * sizeof(float));
}

/* Runs the body for every line; a video's piece of channels is one thread's, so that sums along time and their bits
 * do not depend on the number of threads. Names: at (the line's first number in a field), r (its first rate). */
#define LINES(before, body)                                                                                   \
    int failed = 0;                                                                                           \
    int64_t pieces = count_pieces(d, G);                                                                      \
    (void)threads;                                                                                            \
    _Pragma("omp parallel num_threads(threads) if (threads > 1)") {                                           \
        float *rings = scratch(steps);                                                                        \
        if (!rings) failed = 1;                                                                               \
        _Pragma("omp for schedule(dynamic)") for (int64_t job = 0; job < B * pieces; job++) {                 \
            int64_t b = job / pieces, from = 0, reach = 1, w = find_piece(d, G, job % pieces, &from, &reach); \
            int64_t r = b * d + from, start = b * L * d + from;                                               \
            if (!rings) continue;                                                                             \
            before;                                                                                           \
            for (int64_t k = 0; k < reach && k < n[b]; k++) {                                                 \
                int64_t at = start + k * d;                                                                   \
                Line line = {(n[b] - k + reach - 1) / reach, reach * d, steps, eta, a + at, s + at,           \
                             rate_a + r, rate_s + r, feed + r, decay + r};                                    \
                body                                                                                          \
            }                                                                                                 \
        }                                                                                                     \
        free(rings);                                                                                          \
    }                                                                                                         \
    return failed;

/* steps >= 1. a_out, s_out: (B, L, d). Returns 0, or 1 where there was no memory. */
int gray_scott_forward(int64_t B, int64_t L, int64_t d, int64_t steps, int64_t G, int euler, float eta, int threads,
                       const int64_t *n, const float *a, const float *s, const float *rate_a, const float *rate_s,
                       const float *feed, const float *decay, float *a_out, float *s_out) {
#define FORWARD(w)                                                       \
    if (euler) line_forward(w, 1, line, a_out + at, s_out + at, rings);  \
    else line_forward(w, 0, line, a_out + at, s_out + at, rings);
    LINES(carry(a + start, a_out + start, n[b], L, d, w); carry(s + start, s_out + start, n[b], L, d, w),
          BY_WIDTH(FORWARD))
}

/* x, y: (B, L, d), gradients of the result; to_a, to_s: (B, L, d), those of the start; to_rate_a ... to_decay: (B, d),
 * zero at the start. */
int gray_scott_backward(int64_t B, int64_t L, int64_t d, int64_t steps, int64_t G, int euler, float eta, int threads,
                        const int64_t *n, const float *a, const float *s, const float *rate_a, const float *rate_s,
                        const float *feed, const float *decay, const float *x, const float *y, float *to_a, float *to_s,
                        float *to_rate_a, float *to_rate_s, float *to_feed, float *to_decay) {
#define BACKWARD_OF(w, e)                                                                                        \
    line_backward(w, e, line, x + at, y + at, to_a + at, to_s + at, to_rate_a + r, to_rate_s + r, to_feed + r, \
                  to_decay + r, rings);
#define BACKWARD(w)                \
    if (euler) BACKWARD_OF(w, 1) \
    else BACKWARD_OF(w, 0)
    LINES(carry(x + start, to_a + start, n[b], L, d, w); carry(y + start, to_s + start, n[b], L, d, w),
          BY_WIDTH(BACKWARD))
}
