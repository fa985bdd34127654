/* The fully connected layer, for the files that make its widths. */
#ifndef MOBO_DENSE_BODY_H
#define MOBO_DENSE_BODY_H

#include "mobo_dense.h"

/* Adds the products of two pairs of rows of weights and a column to sums[row]. */
typedef void (*mobo_dot_4x1)(const uint8_t *weights, const uint8_t *next_weights, const mobo_element *column,
                             int groups, int32_t sums[4]);
/* Adds those of one pair of rows. */
typedef void (*mobo_dot_2x1)(const uint8_t *weights, const mobo_element *column, int groups, int32_t sums[2]);

/* Computes all channels; the excess is taken off every sum. */
MOBO_INLINE void mobo_multiply_rows(const mobo_dense *layer, const mobo_element *input, mobo_element *output,
                                    mobo_dot_4x1 four, mobo_dot_2x1 two, int group_bytes, int32_t excess) {
  const mobo_output_stage *const stage = &layer->stage;
  const mobo_channel *const channels = stage->channels;
  const int groups = (layer->in_channels + 3) / 4, count = layer->out_channels;
  const uint8_t *weights = layer->weights;
  int channel = 0, i;
  for (; channel + 4 <= count; channel += 4) {
    int32_t sums[4];
    for (i = 0; i < 4; ++i) {
      sums[i] = channels[channel + i].bias - excess;
    }
    four(weights, weights + groups * group_bytes, input, groups, sums);
    weights += 2 * groups * group_bytes;
    for (i = 0; i < 4; ++i) {
      mobo_store(stage, channel + i, sums[i], output + channel + i);
    }
  }
  for (; channel < count; channel += 2) {
    int32_t sums[2];
    sums[0] = channels[channel].bias - excess;
    sums[1] = channels[channel + 1].bias - excess;
    two(weights, input, groups, sums);
    weights += groups * group_bytes;
    mobo_store(stage, channel, sums[0], output + channel);
    if (channel + 1 < count) {
      mobo_store(stage, channel + 1, sums[1], output + channel + 1);
    }
  }
}

#endif
