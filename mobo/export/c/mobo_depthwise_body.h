/* The depthwise convolution, for the files that make its two widths of weights. */
#ifndef MOBO_DEPTHWISE_BODY_H
#define MOBO_DEPTHWISE_BODY_H

#include "mobo_config.h"
#include "mobo_depthwise.h"

/* Adds the products of four channels, `channel` being the first of them, over all taps. Returns the weights behind. */
typedef const uint8_t *(*mobo_four_channels)(const uint8_t *weights, const int8_t *const *taps, int count, int channel,
                                             int32_t sums[4]);

/* Points at every tap of one window. */
static void mobo_find_taps(const mobo_depthwise *layer, const int8_t *input, int top, int left, const int8_t **taps) {
  const int channels = layer->channels, width = layer->in_width;
  int y, x;
  for (y = top; y < top + layer->kernel_height; ++y) {
    const int8_t *row = input + y * width * channels;
    const int inside = y >= 0 && y < layer->in_height;
    for (x = left; x < left + layer->kernel_width; ++x) {
      *taps++ = inside && x >= 0 && x < width ? row + x * channels : layer->outside;
    }
  }
}

MOBO_INLINE void mobo_one_position(const mobo_depthwise *layer, const int8_t *const *taps, int count, int8_t *output,
                                   mobo_four_channels four_channels, int shift) {
  const mobo_output_stage *stage = &layer->stage;
  const uint8_t *weights = layer->weights;
  int channel = 0;
  while (channel < layer->channels) {
    const int end = channel + 4 < layer->channels ? channel + 4 : layer->channels;
    int32_t sums[4] = {0, 0, 0, 0};
    const int32_t *sum = sums;
    weights = four_channels(weights, taps, count, channel, sums);
    for (; channel < end; ++channel) {
      output[channel] = mobo_requantise((*sum++ >> shift) + stage->channels[channel].bias, stage, channel);
    }
  }
}

MOBO_INLINE void mobo_convolve_channels(const mobo_depthwise *layer, const int8_t *input, int8_t *output,
                                        mobo_four_channels four_channels, int shift) {
  const int8_t *taps[MOBO_MOST_TAPS];
  const int count = layer->kernel_height * layer->kernel_width;
  int row, column;
  for (row = 0; row < layer->out_height; ++row) {
    const int top = row * layer->stride_height - layer->pad_top;
    for (column = 0; column < layer->out_width; ++column) {
      mobo_find_taps(layer, input, top, column * layer->stride_width - layer->pad_left, taps);
      mobo_one_position(layer, taps, count, output, four_channels, shift);
      output += layer->channels;
    }
  }
}

#endif
