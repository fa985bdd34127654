#include "mobo_depthwise_body.h"

/* Sums come out times 4096: a 4-bit weight stays in the top bits of its 16, where its sign already is. */
#define MOBO_SHIFT 12

#if MOBO_DSP
#define MOBO_TOP_NIBBLES(word) ((int16x2_t)((word) & 0xF000F000u))
#define MOBO_TAP(tap, word)                              \
  do {                                                   \
    const uint32_t x = mobo_load((tap) + channel);       \
    const int16x2_t even = mobo_even(x), odd = mobo_odd(x); \
    const int16x2_t w02 = MOBO_TOP_NIBBLES(word), w13 = MOBO_TOP_NIBBLES((word) << 4); \
    s0 = __smlabb(w02, even, s0);                        \
    s1 = __smlabb(w13, odd, s1);                         \
    s2 = __smlatt(w02, even, s2);                        \
    s3 = __smlatt(w13, odd, s3);                         \
  } while (0)
#else
/* The 4-bit number that ends `up` bits above the lowest bit of a byte, times 4096. */
#define MOBO_NIBBLE(byte, up) ((int16_t)(uint16_t)(((uint32_t)(byte) << (12 - (up))) & 0xF000u))
#define MOBO_TAP(tap, at)                                                   \
  do {                                                                      \
    const int8_t *const x = (tap) + channel;                                \
    s0 += MOBO_NIBBLE(weights[at], 4) * x[0];                               \
    s1 += MOBO_NIBBLE(weights[at], 0) * x[1];                               \
    s2 += MOBO_NIBBLE(weights[(at) + 2], 4) * x[2];                         \
    s3 += MOBO_NIBBLE(weights[(at) + 2], 0) * x[3];                         \
  } while (0)
#endif

MOBO_INLINE const uint8_t *mobo_four_channels_w4(const uint8_t *weights, const int8_t *const *taps, int count,
                                                 int channel, int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  for (; count > 0; count -= 2, taps += 2, weights += 4) {
#if MOBO_DSP
    const uint32_t word = mobo_load(weights);
    MOBO_TAP(taps[0], word);
    if (count > 1) {
      MOBO_TAP(taps[1], word << 8);
    }
#else
    MOBO_TAP(taps[0], 1);
    if (count > 1) {
      MOBO_TAP(taps[1], 0);
    }
#endif
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
  return weights;
}

#ifndef MOBO_PACKED
void mobo_depthwise_w4(const mobo_depthwise *layer, const int8_t *input, int8_t *output) {
  mobo_convolve_channels(layer, input, output, mobo_four_channels_w4, MOBO_SHIFT);
}
#else
/* Layers with plain weights and with packed ones share one loop. */
static void mobo_tiles(const mobo_depthwise *layer, mobo_unpack unpack, int channels, const int8_t *input,
                       int8_t *output, int8_t *scratch) {
  const int four = (layer->kernel_height * layer->kernel_width + 1) / 2 * 8;
  mobo_convolve_tiles(layer, unpack, channels, input, output, scratch, mobo_four_channels_w4, MOBO_SHIFT, four,
                      MOBO_FLIP_W4);
}

void mobo_depthwise_w4(const mobo_depthwise *layer, const int8_t *input, int8_t *output) {
  mobo_tiles(layer, NULL, layer->channels, input, output, NULL);
}

void mobo_depthwise_w4_packed(const mobo_depthwise_packed *packed, const int8_t *input, int8_t *output,
                              int8_t *scratch) {
  mobo_tiles(&packed->layer, packed->unpack, packed->tile, input, output, scratch);
}
#endif
