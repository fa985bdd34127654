/* The fully connected layer, for the files that make its two widths of weights. */
#ifndef MOBO_DENSE_BODY_H
#define MOBO_DENSE_BODY_H

#include "mobo_dense.h"
#include "mobo_dot.h"

MOBO_INLINE void mobo_multiply_rows(const mobo_dense *layer, const int8_t *input, int8_t *output, mobo_dot_2x1 dot,
                                    int offset, int group_bytes) {
  const mobo_output_stage *stage = &layer->stage;
  const int groups = (layer->in_channels + 3) / 4;
  const int32_t excess = offset ? offset * mobo_sum(input, layer->in_channels) : 0;
  const uint8_t *weights = layer->weights;
  int channel;
  for (channel = 0; channel < layer->out_channels; channel += 2) {
    int32_t sums[2];
    sums[0] = stage->channels[channel].bias - excess;
    sums[1] = stage->channels[channel + 1].bias - excess;
    dot(weights, input, groups, sums);
    weights += groups * group_bytes;
    output[channel] = mobo_requantise(sums[0], stage, channel);
    if (channel + 1 < layer->out_channels) {
      output[channel + 1] = mobo_requantise(sums[1], stage, channel + 1);
    }
  }
}

#endif
