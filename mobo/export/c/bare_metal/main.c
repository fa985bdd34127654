/* The smallest firmware: one inference after another on whatever lies in the input. Replace it with your own. */
#include <stddef.h>

#include "../model.h"

volatile int predicted_class;

int main(void) {
  for (;;) {
    predicted_class = model_predict(NULL, NULL);
  }
}
