/* Layer norm with scale and shift, alone or within a sigmoid, forward and backward, from and to the types at hand: a pass
 * over the rows each.
 *
 * R rows come in G groups of R / G; each group has a scale and a shift of its own, (G, d).
 * A row waits in a buffer of floats in the first-level cache between its reading and its writing. Called by
 * rdmf/model/native.py; definition: rdmf/model/norm.py.
 */
#include <math.h>
#include <stdlib.h>

#include "numbers.h"

enum { BLOCKS = 16 }; /* of rows, whose sums are added in order: the same bits for any number of threads */

INLINE void read_row(int kind, int64_t d, const void *from, float *row) {
    for (int64_t c = 0; c < d; c++) row[c] = load(kind, from, c);
}

static void read_any(int kind, int64_t d, const char *from, int64_t r, float *row) {
    if (kind == FLOAT32) read_row(FLOAT32, d, from + r * d * 4, row);
    else read_row(BFLOAT16, d, from + r * d * 2, row);
}

INLINE float sigmoid(float z) {
    float e = exp_below(z < 0 ? z : -z);
    return (z < 0 ? e : 1.0f) / (1.0f + e);
}

INLINE void scale_row(int bent, int64_t d, const float *row, float mean, float grow, const float *weight,
                      const float *bias, void *to) {
    for (int64_t c = 0; c < d; c++) {
        float z = (row[c] - mean) * grow * weight[c] + bias[c];
        if (bent) store(FLOAT32, to, c, sigmoid(z));
        else store(BFLOAT16, to, c, z);
    }
}

/* y = (x - mean) * rstd * weight + bias, BFLOAT16, or the sigmoid of that where `bent`, FLOAT32; x of kind `from`, FLOAT32
 * or BFLOAT16. kept: (R, 2) mean and rstd. Returns 0, or 1 where there was no memory. */
int norm_forward(int64_t R, int64_t d, int64_t G, int from, int bent, float eps, int threads, const float *weight,
                 const float *bias, const void *x, void *y, float *kept) {
    int failed = 0;
    (void)threads;
    _Pragma("omp parallel num_threads(threads) if (threads > 1)") {
        float *row = malloc(d * sizeof(float));
        if (!row) failed = 1;
        _Pragma("omp for") for (int64_t r = 0; r < R; r++) {
            float mean, variance;
            const float *w = weight + r / (R / G) * d, *b = bias + r / (R / G) * d;
            if (!row) continue;
            read_any(from, d, x, r, row);
            moments(d, row, &mean, &variance);
            float grow = 1.0f / sqrtf(variance + eps);
            kept[2 * r] = mean;
            kept[2 * r + 1] = grow;
            if (bent) scale_row(1, d, row, mean, grow, w, b, (float *)y + r * d);
            else scale_row(0, d, row, mean, grow, w, b, (Half *)y + r * d);
        }
        free(row);
    }
    return failed;
}

/* With n the normalised row and h = gradient * weight: to_x = rstd * (h - mean(h) - n * mean(h * n)); row becomes n. */
INLINE void back_row(int kind, int64_t d, float mean, float grow, const float *restrict weight, float *restrict row,
                     const float *restrict g, float *restrict to_weight, float *restrict to_bias, void *to_x) {
    Vector both = {0}, along = {0};
    int64_t whole = d - d % LANES;
    float level = 0, slope = 0;
    for (int64_t c = 0; c < whole; c += LANES) {
        Vector n = (*(const Vector *)(row + c) - mean) * grow, got = *(const Vector *)(g + c);
        Vector h = got * *(const Vector *)(weight + c);
        both += h;
        along += h * n;
        *(Vector *)(row + c) = n;
        *(Vector *)(to_weight + c) += got * n;
        *(Vector *)(to_bias + c) += got;
    }
    for (int64_t c = whole; c < d; c++) {
        float n = (row[c] - mean) * grow, h = g[c] * weight[c];
        level += h;
        slope += h * n;
        row[c] = n;
        to_weight[c] += g[c] * n;
        to_bias[c] += g[c];
    }
    level = (level + sum_of(&both)) / (float)d;
    slope = (slope + sum_of(&along)) / (float)d;
    for (int64_t c = 0; c < d; c++) store(kind, to_x, c, grow * (g[c] * weight[c] - level - row[c] * slope));
}

/* Job k of `jobs`: rows of group k, or the k-th part of the rows where there is but one group. */
INLINE int64_t first_row(int64_t R, int64_t jobs, int64_t k) { return k * R / jobs; }

/* g: the gradient of y, of kind `given`; y: the sigmoid's values where that was taken, else 0; to_x: of kind `from`, as x;
 * to_weight, to_bias: (G, d). */
int norm_backward(int64_t R, int64_t d, int64_t G, int from, int given, int threads, const float *weight,
                  const float *kept, const void *x, const float *y, const void *g, void *to_x, float *to_weight,
                  float *to_bias) {
    int failed = 0;
    int64_t jobs = G > 1 ? G : BLOCKS;
    float *sums = calloc(jobs * 2 * d, sizeof(float));
    if (!sums) return 1;
    (void)threads;
    _Pragma("omp parallel num_threads(threads) if (threads > 1)") {
        float *row = malloc(2 * d * sizeof(float)), *got = row + d;
        if (!row) failed = 1;
        _Pragma("omp for") for (int64_t k = 0; k < jobs; k++) {
            const float *w = weight + (G > 1 ? k * d : 0);
            float *sum = sums + k * 2 * d;
            for (int64_t r = first_row(R, jobs, k); row && r < first_row(R, jobs, k + 1); r++) {
                float mean = kept[2 * r], grow = kept[2 * r + 1];
                read_any(from, d, x, r, row);
                read_any(given, d, g, r, got);
                if (y)
                    for (int64_t c = 0; c < d; c++) got[c] *= y[r * d + c] * (1.0f - y[r * d + c]);
                if (from == FLOAT32) back_row(FLOAT32, d, mean, grow, w, row, got, sum, sum + d, (float *)to_x + r * d);
                else back_row(BFLOAT16, d, mean, grow, w, row, got, sum, sum + d, (Half *)to_x + r * d);
            }
        }
        free(row);
    }
    memset(to_weight, 0, G * d * sizeof(float));
    memset(to_bias, 0, G * d * sizeof(float));
    for (int64_t k = 0; k < jobs; k++)
        for (int64_t c = 0, at = G > 1 ? k * d : 0; c < d; c++) {
            to_weight[at + c] += sums[k * 2 * d + c];
            to_bias[at + c] += sums[(k * 2 + 1) * d + c];
        }
    free(sums);
    return failed;
}
