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

#ifndef MOBO_PACKED
void mobo_depthwise_w8(const mobo_depthwise *layer, const int8_t *input, int8_t *output) {
  mobo_convolve_channels(layer, input, output, mobo_four_channels_w8, 0);
}
#else
/* Layers with plain weights and with packed ones share one loop. */
static void mobo_tiles(const mobo_depthwise *layer, mobo_unpack unpack, int channels, const int8_t *input,
                       int8_t *output, int8_t *scratch) {
  const int four = 4 * layer->kernel_height * layer->kernel_width;
  mobo_convolve_tiles(layer, unpack, channels, input, output, scratch, mobo_four_channels_w8, 0, four,
                      MOBO_FLIP_W8);
}

void mobo_depthwise_w8(const mobo_depthwise *layer, const int8_t *input, int8_t *output) {
  mobo_tiles(layer, NULL, layer->channels, input, output, NULL);
}

void mobo_depthwise_w8_packed(const mobo_depthwise_packed *packed, const int8_t *input, int8_t *output,
                              int8_t *scratch) {
  mobo_tiles(&packed->layer, packed->unpack, packed->tile, input, output, scratch);
}
#endif
