/* Half precision to float and back, the draws of dropout, moments of a row: plain C that compilers turn into vectors. */
#ifndef RDMF_NUMBERS_H
#define RDMF_NUMBERS_H
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
typedef uint16_t Half __attribute__((may_alias));

/* A vector is one register: of a wider one GCC keeps the parts in memory, which takes two to four times as long. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

enum { FLOAT32, BFLOAT16, FLOAT16 }; /* as rdmf/model/native.py counts them */

INLINE float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE uint32_t as_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

INLINE float from_bfloat16(uint16_t half) { return as_float((uint32_t)half << 16); }

/* To the nearest, ties to even, as PyTorch rounds. */
INLINE uint16_t to_bfloat16(float value) {
    uint32_t bits = as_bits(value), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

/* The exponent's bias differs by 112; multiplying by 2^112 makes subnormals right as well. */
INLINE float from_float16(uint16_t half) {
    uint32_t bits = half & 0x7fff, sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t wide = as_bits(as_float(bits << 13) * 0x1p112f);
    return as_float((bits >= 0x7c00 ? wide | 0x7f800000 : wide) | sign);
}

INLINE float load(int kind, const void *from, int64_t i) {
    return kind == FLOAT32 ? ((const float *)from)[i]
                           : kind == BFLOAT16 ? from_bfloat16(((const Half *)from)[i]) : from_float16(((const Half *)from)[i]);
}

INLINE void store(int kind, void *to, int64_t i, float value) {
    if (kind == FLOAT32) ((float *)to)[i] = value;
    else ((Half *)to)[i] = to_bfloat16(value);
}

/* Two draws of 16 bits for the pair of numbers `at`: fold and multiply three times with Wellons' constants (triple32,
 * https://nullprogram.com/blog/2018/07/31/), the seed's halves let in before the first and the third. Every draw is a
 * function of its place alone: a backward pass finds the same ones, and so does any number of threads. */
INLINE uint32_t draw_pair(uint32_t at, uint32_t first, uint32_t second) {
    uint32_t h = at ^ first;
    h = (h ^ h >> 17) * 0xed5ad4bbu;
    h = (h ^ h >> 11) * 0xac4c1b51u + second;
    h = (h ^ h >> 15) * 0x31848babu;
    return h ^ h >> 14;
}

/* count draws from pair `at` on; draws has room for one more. */
INLINE void draw(int64_t count, uint32_t at, const uint32_t *seed, int16_t *draws) {
    uint32_t first = seed[0], second = seed[1];
    for (int64_t j = 0; j < (count + 1) / 2; j++) {
        uint32_t pair = draw_pair(at + (uint32_t)j, first, second);
        draws[2 * j] = (int16_t)(pair & 0xffff);
        draws[2 * j + 1] = (int16_t)(pair >> 16);
    }
}

INLINE float sum_of(const Vector *lanes) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += (*lanes)[i];
    return sum;
}

/* Mean and variance in float, LANES sums side by side: errors stay near those of one sum of d / LANES numbers. */
INLINE void moments(int64_t d, const float *x, float *mean, float *variance) {
    Vector sum = {0}, square = {0};
    float rest = 0;
    int64_t whole = d - d % LANES;
    for (int64_t c = 0; c < whole; c += LANES) sum += *(const Vector *)(x + c);
    for (int64_t c = whole; c < d; c++) rest += x[c];
    float middle = *mean = (sum_of(&sum) + rest) / (float)d;
    rest = 0;
    for (int64_t c = 0; c < whole; c += LANES) {
        Vector off = *(const Vector *)(x + c) - middle;
        square += off * off;
    }
    for (int64_t c = whole; c < d; c++) rest += (x[c] - middle) * (x[c] - middle);
    *variance = (sum_of(&square) + rest) / (float)d;
}

/* e^x for x <= 0: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (its Taylor series): off by 2e-7 of it. */
INLINE float exp_below(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f; /* to the nearest whole number */
    float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    return p * as_float((uint32_t)((int32_t)n + 127) << 23);
}

#endif
