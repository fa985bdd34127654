/* The loop over the taps of 8-bit weights. With the DSP extension a file defines MOBO_TAP beforehand: the products of
 * one tap with four channels. */
#ifndef MOBO_DEPTHWISE_W8_BODY_H
#define MOBO_DEPTHWISE_W8_BODY_H

#include "mobo_depthwise_body.h"

#if !MOBO_DSP
#define MOBO_TAP(tap, weights)                       \
  do {                                               \
    const mobo_element *const x = (tap) + channel;   \
    const int8_t *const w = (const int8_t *)(weights); \
    s0 += w[0] * x[0];                               \
    s1 += w[1] * x[1];                               \
    s2 += w[2] * x[2];                               \
    s3 += w[3] * x[3];                               \
  } while (0)
#endif

MOBO_INLINE const uint8_t *mobo_four_channels_w8(const uint8_t *weights, const mobo_element *const *taps, int count,
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

#endif
