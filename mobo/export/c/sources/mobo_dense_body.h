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

#if defined(MOBO_PACKED) && !defined(MOBO_INT16)
/* Computes all channels from weights that are unpacked part by part, a block being four groups of two rows. */
MOBO_INLINE void mobo_multiply_packed_rows(const mobo_dense_packed *packed, const int8_t *input, int8_t *output,
                                           int8_t *scratch, mobo_dot_2x1 two, uint32_t flip, int32_t excess) {
  const mobo_output_stage *const stage = &packed->layer.stage;
  const int groups = (packed->layer.in_channels + 3) / 4, count = packed->layer.out_channels;
  const uint8_t *weights = packed->layer.weights;
  int channel, done;
  for (channel = 0; channel < count; channel += 2) {
    int32_t sums[2];
    sums[0] = stage->channels[channel].bias - excess;
    sums[1] = stage->channels[channel + 1].bias - excess;
    for (done = 0; done < groups; done += 4 * MOBO_DENSE_BLOCKS) {
      const int some = groups - done < 4 * MOBO_DENSE_BLOCKS ? groups - done : 4 * MOBO_DENSE_BLOCKS;
      weights = packed->unpack(weights, (uint8_t *)scratch, (some + 3) / 4, flip);
      two((const uint8_t *)scratch, input + 4 * done, some, sums);
    }
    mobo_store(stage, channel, sums[0], output + channel);
    if (channel + 1 < count) {
      mobo_store(stage, channel + 1, sums[1], output + channel + 1);
    }
  }
}
#endif

#endif
