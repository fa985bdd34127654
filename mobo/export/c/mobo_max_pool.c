#include "mobo_pool.h"

MOBO_INLINE void mobo_maximum_one(const mobo_window *window, int channels, int8_t *output) {
  const int8_t *row = window->start;
  int32_t most = INT8_MIN;
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_bytes) {
    const int8_t *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      most = *element > most ? *element : most;
    }
  }
  *output = (int8_t)most;
}

#if MOBO_DSP
/* Four channels at once: a subtraction byte by byte leaves behind which byte is the larger. */
MOBO_INLINE void mobo_maximum_four(const mobo_window *window, int channels, int8_t *output) {
  const int8_t *row = window->start;
  uint32_t most = 0x80808080u;
  int y, x;
  for (y = 0; y < window->height; ++y, row += window->row_bytes) {
    const int8_t *element = row;
    for (x = 0; x < window->width; ++x, element += channels) {
      const uint32_t word = mobo_load(element);
      uint32_t difference;
      __asm__("ssub8 %0, %2, %1\n\tsel %1, %2, %1" : "=&r"(difference), "+r"(most) : "r"(word) : "cc");
    }
  }
  __builtin_memcpy(output, &most, sizeof most);
}
#endif

void mobo_max_pool(const mobo_pool *layer, const int8_t *input, int8_t *output) {
  int row, column;
  for (row = 0; row < layer->out_height; ++row) {
    for (column = 0; column < layer->out_width; ++column) {
      mobo_window window = mobo_pool_window(layer, input, row, column);
      int left = layer->channels;
#if MOBO_DSP
      for (; left >= 4; left -= 4, window.start += 4, output += 4) {
        mobo_maximum_four(&window, layer->channels, output);
      }
#endif
      for (; left > 0; --left, ++window.start) {
        mobo_maximum_one(&window, layer->channels, output++);
      }
    }
  }
}
