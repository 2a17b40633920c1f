/* Rows of a table made ready for the widest matrix product, in one pass: gathered, normalised, dropped out, rounded.
 *
 * Each row is read once into a buffer that stays in the first-level cache, and written once. Called by
 * rdmf/model/native.py; definition: rdmf/model/rows.py.
 */
#include <math.h>
#include <stdlib.h>

#include "numbers.h"

INLINE void read_row(int kind, int64_t d, const void *from, float *row) {
    for (int64_t c = 0; c < d; c++) row[c] = load(kind, from, c);
}

INLINE void write_row(int kind, int64_t d, const float *row, float mean, float scale, const int16_t *draws, int least,
                      void *to) {
    for (int64_t c = 0; c < d; c++) {
        float value = (row[c] - mean) * scale;
        store(kind, to, c, draws == 0 || draws[c] >= least ? value : 0);
    }
}

static void read_any(int kind, int64_t d, const char *table, int64_t at, float *row) {
    if (kind == FLOAT32) read_row(FLOAT32, d, table + at * d * 4, row);
    else if (kind == BFLOAT16) read_row(BFLOAT16, d, table + at * d * 2, row);
    else read_row(FLOAT16, d, table + at * d * 2, row);
}

static void write_any(int kind, int64_t d, const float *row, float mean, float scale, const int16_t *draws, int least,
                      char *to) {
    if (kind == FLOAT32 && draws) write_row(FLOAT32, d, row, mean, scale, draws, least, to);
    else if (kind == FLOAT32) write_row(FLOAT32, d, row, mean, scale, 0, least, to);
    else if (draws) write_row(BFLOAT16, d, row, mean, scale, draws, least, to);
    else write_row(BFLOAT16, d, row, mean, scale, 0, least, to);
}

/* out: (R, d), float or bfloat16 (`into`). Row r is row index[r] of the table (of kind `from`), zero where that is
 * negative; index 0: row r itself. Numbers whose draw lies below dropped / 2^16 become zero, the others grow in turn;
 * dropped 0: none. Returns 0, or 1 where there was no memory. */
int prepare_rows(int64_t R, int64_t d, int from, int into, int64_t dropped, float eps, int threads, const uint32_t *seed,
                 const int64_t *index, const void *table, void *out) {
    int failed = 0;
    float grow = 65536.0f / (float)(65536 - dropped);
    int64_t bytes = into == FLOAT32 ? 4 : 2;
    (void)threads;
    _Pragma("omp parallel num_threads(threads) if (threads > 1)") {
        float *row = malloc(d * sizeof(float) + (d + 3) * sizeof(int16_t));
        int16_t *draws = (int16_t *)(row + d);
        if (!row) failed = 1;
        _Pragma("omp for") for (int64_t r = 0; r < R; r++) {
            int64_t at = index ? index[r] : r;
            char *to = (char *)out + r * d * bytes;
            if (!row) continue;
            if (at < 0) {
                memset(to, 0, d * bytes);
                continue;
            }
            float mean, variance;
            read_any(from, d, table, at, row);
            moments(d, row, &mean, &variance);
            int odd = r * d & 1; /* a row may begin with the second draw of a pair */
            if (dropped) draw(d + odd, (uint32_t)(r * d / 2), seed, draws);
            write_any(into, d, row, mean, grow / sqrtf(variance + eps), dropped ? draws + odd : 0, (int)dropped - 32768, to);
        }
        free(row);
    }
    return failed;
}
