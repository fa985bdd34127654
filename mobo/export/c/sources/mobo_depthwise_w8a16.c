#define MOBO_INT16
#include "mobo_arithmetic.h"

#if MOBO_DSP
#define MOBO_TAP(tap, weights)                                          \
  do {                                                                  \
    const int16x2_t x = (int16x2_t)mobo_load((tap) + channel);          \
    const int16x2_t x_next = (int16x2_t)mobo_load((tap) + channel + 2); \
    const uint32_t w = mobo_load(weights);                              \
    const int16x2_t even = mobo_even(w), odd = mobo_odd(w);             \
    s0 = __smlabb(even, x, s0);                                         \
    s1 = __smlabt(odd, x, s1);                                          \
    s2 = __smlatb(even, x_next, s2);                                    \
    s3 = __smlatt(odd, x_next, s3);                                     \
  } while (0)
#endif

#include "mobo_depthwise_w8_body.h"

void mobo_depthwise_w8a16(const mobo_depthwise *layer, const int16_t *input, int16_t *output) {
  mobo_convolve_channels(layer, input, output, mobo_four_channels_w8, 0);
}
