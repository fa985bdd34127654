#include "mobo_add_body.h"

void mobo_add_s8(const mobo_add *layer, const int8_t *first, const int8_t *second, int8_t *output) {
  mobo_add_elements(layer, first, second, output);
}
