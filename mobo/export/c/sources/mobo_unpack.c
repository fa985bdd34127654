#include "mobo_unpack.h"

#include "mobo_arithmetic.h"

#if defined(__GNUC__)
#define MOBO_COPY_WORD(to, from) \
  __builtin_memcpy(__builtin_assume_aligned((to), 4), __builtin_assume_aligned((from), 4), 4)
#else
#define MOBO_COPY_WORD(to, from) memcpy((to), (from), 4)
#endif

/* The k-th word of fields of so many bits, taken from a plane that holds `width` bits of each. */
MOBO_INLINE uint32_t mobo_plane(const uint8_t *plane, int k, int field, int width, uint32_t ones) {
  const int fields = field / width;
  uint32_t word;
  MOBO_COPY_WORD(&word, plane + 4 * (k / fields));
  return (word >> (width * (k % fields))) & (ones * ((1u << width) - 1));
}

/* A weight of `low` + `top` bits, its least plus half the range being 0: the low bits of all 32 lie in `low` words, the
 * top ones in `top` words behind them. */
MOBO_INLINE const uint8_t *mobo_unpack_blocks(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip, int field,
                                              int low, int top) {
  const uint32_t ones = field == 8 ? 0x01010101u : 0x11111111u;
  const uint32_t half = ones * ((1u << (field - 1)) - (1u << (low + top - 1)));
  for (; blocks > 0; --blocks) {
    int k;
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 8
#endif
    for (k = 0; k < field; ++k) {
      uint32_t word = mobo_plane(packed, k, field, low, ones);
      if (top) {
        word |= mobo_plane(packed + 4 * low, k, field, top, ones) << low;
      }
      /* No field overflows into the next one. */
      word = (word + half) ^ flip;
      MOBO_COPY_WORD(to, &word);
      to += 4;
    }
    packed += 4 * (low + top);
  }
  return packed;
}

const uint8_t *mobo_unpack_w8s2(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip) {
  return mobo_unpack_blocks(packed, to, blocks, flip, 8, 2, 0);
}

const uint8_t *mobo_unpack_w8s3(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip) {
  return mobo_unpack_blocks(packed, to, blocks, flip, 8, 2, 1);
}

const uint8_t *mobo_unpack_w8s5(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip) {
  return mobo_unpack_blocks(packed, to, blocks, flip, 8, 4, 1);
}

const uint8_t *mobo_unpack_w8s6(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip) {
  return mobo_unpack_blocks(packed, to, blocks, flip, 8, 4, 2);
}

const uint8_t *mobo_unpack_w4s2(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip) {
  return mobo_unpack_blocks(packed, to, blocks, flip, 4, 2, 0);
}

const uint8_t *mobo_unpack_w4s3(const uint8_t *packed, uint8_t *to, int blocks, uint32_t flip) {
  return mobo_unpack_blocks(packed, to, blocks, flip, 4, 2, 1);
}
