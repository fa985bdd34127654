#include "mobo_depthwise_body.h"

MOBO_INLINE const uint8_t *mobo_four_channels_w8(const uint8_t *weights, const int8_t *const *taps, int count,
                                                 int channel, int32_t sums[4]) {
  const int8_t *const *const end = taps + count;
  int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  while (taps != end) {
    const int8_t *const tap = *taps++ + channel;
#if MOBO_DSP
    const uint32_t x = mobo_load(tap), w = mobo_load(weights);
    const int16x2_t x_even = mobo_even(x), x_odd = mobo_odd(x), w_even = mobo_even(w), w_odd = mobo_odd(w);
    s0 = __smlabb(w_even, x_even, s0);
    s1 = __smlabb(w_odd, x_odd, s1);
    s2 = __smlatt(w_even, x_even, s2);
    s3 = __smlatt(w_odd, x_odd, s3);
#else
    s0 += (int8_t)weights[0] * tap[0];
    s1 += (int8_t)weights[1] * tap[1];
    s2 += (int8_t)weights[2] * tap[2];
    s3 += (int8_t)weights[3] * tap[3];
#endif
    weights += 4;
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
  return weights;
}

void mobo_depthwise_w8(const mobo_depthwise *layer, const int8_t *input, int8_t *output) {
  mobo_convolve_channels(layer, input, output, mobo_four_channels_w8, 0);
}
