/* The smallest firmware: one inference after another on whatever lies in the input. Replace it with your own. */
#include <stddef.h>

#include "../model.h"

int8_t *volatile next_input;
model_output scores[MODEL_OUTPUTS];
volatile int predicted_class;

int main(void) {
  next_input = model_input();
  for (;;) {
    predicted_class = model_predict(NULL, scores);
  }
}
