#include "mobo_pool.h"

void mobo_max_pool(const mobo_pool *layer, const int8_t *input, int8_t *output) {
  const int channels = layer->channels;
  int row, column, channel, y, x;
  for (row = 0; row < layer->out_height; ++row) {
    for (column = 0; column < layer->out_width; ++column) {
      const mobo_window window = mobo_pool_window(layer, input, row, column);
      for (channel = 0; channel < channels; ++channel) {
        const int8_t *line = window.start + channel;
        int32_t most = INT8_MIN;
        for (y = 0; y < window.height; ++y, line += window.row_bytes) {
          const int8_t *element = line;
          for (x = 0; x < window.width; ++x, element += channels) {
            most = *element > most ? *element : most;
          }
        }
        *output++ = (int8_t)most;
      }
    }
  }
}
