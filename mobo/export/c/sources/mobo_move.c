#include "mobo_elementwise.h"

void mobo_pad_any(const mobo_pad *layer, const void *input, void *output) {
  const int8_t *from = input;
  int8_t *to = output;
  int32_t left = layer->rows;
  memset(to, layer->value, (size_t)layer->first);
  to += layer->first;
  for (;;) {
    memcpy(to, from, (size_t)layer->row);
    to += layer->row;
    from += layer->row;
    if (--left == 0) {
      break;
    }
    memset(to, layer->value, (size_t)layer->between);
    to += layer->between;
  }
  memset(to, layer->value, (size_t)layer->last);
}

void mobo_concatenate_any(const mobo_concatenate *layer, const void *const *inputs, void *output) {
  int8_t *first = output;
  int32_t i, position;
  for (i = 0; i < layer->inputs; ++i) {
    const int32_t bytes = layer->bytes[i];
    const int8_t *from = inputs[i];
    int8_t *to = first;
    for (position = 0; position < layer->positions; ++position) {
      memcpy(to, from, (size_t)bytes);
      from += bytes;
      to += layer->row;
    }
    first += bytes;
  }
}
