#define MOBO_INT16
#include "mobo_add_body.h"

void mobo_add_s16(const mobo_add *layer, const int16_t *first, const int16_t *second, int16_t *output) {
  mobo_add_elements(layer, first, second, output);
}
