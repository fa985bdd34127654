#include "mobo_arithmetic.h"

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
#endif

#include "mobo_depthwise_w8_body.h"

void mobo_depthwise_w8(const mobo_depthwise *layer, const int8_t *input, int8_t *output) {
  mobo_convolve_channels(layer, input, output, mobo_four_channels_w8, 0);
}
