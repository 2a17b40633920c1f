/* Half precision to float and back, and the draws of dropout: plain C that compilers turn into vectors. */
#ifndef RDMF_NUMBERS_H
#define RDMF_NUMBERS_H
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias)); /* 16 numbers */
typedef uint16_t Half __attribute__((may_alias));

enum { LANES = 16 };
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

/* Two draws of 16 bits for the pair of numbers `at`: multiply and fold, twice, the seed's halves let in at both rounds.
 * Every draw is a function of its place alone, so that a backward pass finds the same ones, as do any number of threads. */
INLINE uint32_t draw_pair(uint32_t at, const uint32_t *seed) {
    uint32_t h = at ^ seed[0];
    h = (h ^ h >> 16) * 0x7feb352du;
    h = ((h ^ h >> 15) + seed[1]) * 0x846ca68bu;
    return h ^ h >> 16;
}

/* count draws from pair `at` on; draws has room for one more. */
INLINE void draw(int64_t count, uint32_t at, const uint32_t *seed, int16_t *draws) {
    uint32_t first = seed[0], second = seed[1], both[2] = {first, second};
    for (int64_t j = 0; j < (count + 1) / 2; j++) {
        uint32_t pair = draw_pair(at + (uint32_t)j, both);
        draws[2 * j] = (int16_t)(pair & 0xffff);
        draws[2 * j + 1] = (int16_t)(pair >> 16);
    }
}
#endif
