#include "mobo_depthwise_body.h"

#if MOBO_DSP
#define MOBO_TAP(tap, weights)                                                               \
  do {                                                                                       \
    const uint32_t x = mobo_load((tap) + channel), w = mobo_load(weights);                   \
    const int16x2_t x_even = mobo_even(x), x_odd = mobo_odd(x);                              \
    const int16x2_t w_even = mobo_even(w), w_odd = mobo_odd(w);                              \
    s0 = __smlabb(w_even, x_even, s0);                                                       \
    s1 = __smlabb(w_odd, x_odd, s1);                                                         \
    s2 = __smlatt(w_even, x_even, s2);                                                       \
    s3 = __smlatt(w_odd, x_odd, s3);                                                         \
  } while (0)
#else
#define MOBO_TAP(tap, weights)                                     \
  do {                                                             \
    const int8_t *const x = (tap) + channel, *const w = (const int8_t *)(weights); \
    s0 += w[0] * x[0];                                             \
    s1 += w[1] * x[1];                                             \
    s2 += w[2] * x[2];                                             \
    s3 += w[3] * x[3];                                             \
  } while (0)
#endif

MOBO_INLINE const uint8_t *mobo_four_channels_w8(const uint8_t *weights, const int8_t *const *taps, int count,
                                                 int channel, int32_t sums[4]) {
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  for (; count >= 3; count -= 3, taps += 3, weights += 12) {
    MOBO_TAP(taps[0], weights);
    MOBO_TAP(taps[1], weights + 4);
    MOBO_TAP(taps[2], weights + 8);
  }
  for (; count > 0; --count, ++taps, weights += 4) {
    MOBO_TAP(taps[0], weights);
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
  return weights;
}

void mobo_depthwise_w8(const mobo_depthwise *layer, const int8_t *input, int8_t *output) {
  mobo_convolve_channels(layer, input, output, mobo_four_channels_w8, 0);
}
