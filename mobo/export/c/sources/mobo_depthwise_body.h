/* The depthwise convolution, for the files that make its widths. */
#ifndef MOBO_DEPTHWISE_BODY_H
#define MOBO_DEPTHWISE_BODY_H

#include "mobo_config.h"
#include "mobo_depthwise.h"

/* Adds the products of four channels, `channel` being the first of them, over all taps. Returns the weights behind. */
typedef const uint8_t *(*mobo_four_channels)(const uint8_t *weights, const mobo_element *const *taps, int count,
                                             int channel, int32_t sums[4]);

/* Points at every tap of one window. */
static void mobo_find_taps(const mobo_depthwise *layer, const mobo_element *input, int top, int left,
                           const mobo_element **taps) {
  const int channels = layer->channels, width = layer->in_width;
  int y, x;
  for (y = top; y < top + layer->kernel_height; ++y) {
    const mobo_element *row = input + y * width * channels;
    const int inside = y >= 0 && y < layer->in_height;
    for (x = left; x < left + layer->kernel_width; ++x) {
      *taps++ = inside && x >= 0 && x < width ? row + x * channels : layer->outside;
    }
  }
}

/* Up to four channels' sums as outputs, for any output stage. */
static void mobo_store_some(const mobo_output_stage *stage, int channel, const int32_t sums[4], int count,
                            mobo_element *output) {
  int i;
  for (i = 0; i < count; ++i) {
    mobo_store(stage, channel + i, sums[i] + mobo_bias(&stage->channels[channel + i]), output + i);
  }
}

MOBO_INLINE void mobo_one_position(const mobo_depthwise *layer, const mobo_element *const *taps, int count,
                                   mobo_element *output, mobo_four_channels four_channels, int shift) {
  const mobo_output_stage *const stage = &layer->stage;
  const mobo_channel *channels = stage->channels;
  const int8_t *shifts = stage->shifts;
  const int32_t half_and_zero_point = stage->half_and_zero_point, low = stage->low;
  const uint8_t *weights = layer->weights;
  const int end = layer->channels;
  int channel;
  for (channel = 0; channel < end; channel += 4) {
    int32_t sums[4] = {0, 0, 0, 0};
    int i;
    weights = four_channels(weights, taps, count, channel, sums);
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
    for (i = 0; i < 4; ++i) {
      sums[i] >>= shift;
    }
    if (stage->wide || end - channel < 4) {
      const int left = end - channel < 4 ? end - channel : 4;
      int32_t stored[4];
      memcpy(stored, sums, sizeof stored);
      mobo_store_some(stage, channel, stored, left, output);
    } else {
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 4
#endif
      for (i = 0; i < 4; ++i) {
        const int32_t addend = mobo_addend(half_and_zero_point, shifts[i]);
        output[i] = (mobo_element)mobo_narrow(sums[i] + channels[i].bias, channels[i].mantissa, shifts[i], addend, low);
      }
    }
    channels += 4, shifts += 4, output += 4;
  }
}

/* Computes the channels of a tile, which has weights, output stage and number of channels of a part of the layer;
 * `input` and `output` point to the first of them. */
MOBO_INLINE void mobo_convolve_tile(const mobo_depthwise *layer, const mobo_depthwise *tile, const mobo_element *input,
                                    mobo_element *output, mobo_four_channels four_channels, int shift) {
  const mobo_element *taps[MOBO_MOST_TAPS];
  const int count = layer->kernel_height * layer->kernel_width;
  int row, column;
  for (row = 0; row < layer->out_height; ++row) {
    const int top = row * layer->stride_height - layer->pad_top;
    for (column = 0; column < layer->out_width; ++column) {
      mobo_find_taps(layer, input, top, column * layer->stride_width - layer->pad_left, taps);
      mobo_one_position(tile, taps, count, output, four_channels, shift);
      output += layer->channels;
    }
  }
}

MOBO_INLINE void mobo_convolve_channels(const mobo_depthwise *layer, const mobo_element *input, mobo_element *output,
                                        mobo_four_channels four_channels, int shift) {
  mobo_convolve_tile(layer, layer, input, output, four_channels, shift);
}

#if defined(MOBO_PACKED) && !defined(MOBO_INT16)
/* Computes a layer tile by tile; `unpack` is NULL for one whose weights lie as they are computed with. `four` is how
 * many weights, padding included, four channels have. */
MOBO_INLINE void mobo_convolve_tiles(const mobo_depthwise *layer, mobo_unpack unpack, int channels, const int8_t *input,
                                     int8_t *output, int8_t *scratch, mobo_four_channels four_channels, int shift,
                                     int four, uint32_t flip) {
  const uint8_t *packed = layer->weights;
  mobo_depthwise tile = *layer;
  int left = layer->channels;
  for (; left > 0; left -= channels) {
    const int count = left < channels ? left : channels;
    if (unpack != NULL) {
      packed = unpack(packed, (uint8_t *)scratch, MOBO_BLOCKS((count + 3) / 4 * four), flip);
      tile.weights = (const uint8_t *)scratch;
    }
    tile.channels = (uint16_t)count;
    mobo_convolve_tile(layer, &tile, input, output, four_channels, shift);
    tile.stage.channels += count, tile.stage.shifts += count, input += count, output += count;
  }
}
#endif

#endif
