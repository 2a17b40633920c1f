/* Overlaps of many spans with many others, and suppression: without the tables of B x Q x K numbers in between.
 *
 * Spans are (start, end). Called by rdmf/model/native.py; definitions: rdmf/model/spans.py, rdmf/model/segments.py.
 */
#include <stdlib.h>

#include "numbers.h"

enum { SIDE = 16 }; /* sums side by side */

INLINE float larger(float a, float b) { return a > b ? a : b; }
INLINE float smaller(float a, float b) { return a < b ? a : b; }

INLINE float overlap(float start, float end, float other_start, float other_end) {
    float inter = larger(smaller(end, other_end) - larger(start, other_start), 0);
    float both = larger(end - start, 0) + larger(other_end - other_start, 0) - inter;
    return inter / larger(both, 0x1p-23f);
}

/* out[b, q]: the sum over k of share[b, k] * IoU(asked[b, q], likely[b, k]). asked (B, Q, 2), likely (B, K, 2), share
 * (B, K). Returns 0, or 1 where there was no memory. */
int expected_overlap(int64_t B, int64_t Q, int64_t K, int threads, const float *asked, const float *likely,
                     const float *share, float *out) {
    int failed = 0;
    int64_t room = (K + SIDE - 1) / SIDE * SIDE;
    (void)threads;
    _Pragma("omp parallel num_threads(threads) if (threads > 1)") {
        float *start = calloc(3 * room + 1, sizeof(float)), *end = start + room, *weight = end + room;
        if (!start) failed = 1;
        _Pragma("omp for") for (int64_t b = 0; b < B; b++) {
            if (!start) continue;
            for (int64_t k = 0; k < K; k++) {
                start[k] = likely[(b * K + k) * 2];
                end[k] = likely[(b * K + k) * 2 + 1];
                weight[k] = share[b * K + k];
            }
            for (int64_t q = 0; q < Q; q++) {
                const float *span = asked + (b * Q + q) * 2;
                float sums[SIDE] = {0}, sum = 0;
                for (int64_t k = 0; k < room; k += SIDE)
                    for (int i = 0; i < SIDE; i++)
                        sums[i] += weight[k + i] * overlap(span[0], span[1], start[k + i], end[k + i]);
                for (int i = 0; i < SIDE; i++) sum += sums[i];
                out[b * Q + q] = sum;
            }
        }
        free(start);
    }
    return failed;
}

/* keep[b, q]: 1 unless a kept span before q in the order overlaps it by more than `limit`. spans (B, Q, 2), order (B, Q):
 * the best first. */
int suppress(int64_t B, int64_t Q, float limit, const float *spans, const int64_t *order, uint8_t *keep) {
    for (int64_t b = 0; b < B; b++) {
        const float *of = spans + b * Q * 2;
        const int64_t *by = order + b * Q;
        uint8_t *kept = keep + b * Q;
        for (int64_t i = 0; i < Q; i++) {
            const float *one = of + 2 * by[i];
            int good = 1;
            for (int64_t j = 0; j < i && good; j++) {
                const float *other = of + 2 * by[j];
                good = !(kept[by[j]] && overlap(other[0], other[1], one[0], one[1]) > limit);
            }
            kept[by[i]] = (uint8_t)good;
        }
    }
    return 0;
}
