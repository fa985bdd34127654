/* Runs the test vectors on the host; 0 when every output is the expected one. */
#include <stdio.h>
#include <string.h>

#include "../model.h"
#include "test_vectors.h"

int main(void) {
  int wrong = 0, i;
  for (i = 0; i < TEST_VECTORS; ++i) {
    model_output output[MODEL_OUTPUTS];
    model_predict(test_inputs + (size_t)i * MODEL_INPUT_BYTES, output);
    if (memcmp(output, test_outputs + (size_t)i * MODEL_OUTPUTS, sizeof output) != 0) {
      printf("test vector %d: another output than expected\n", i);
      ++wrong;
    }
  }
  printf("%d of %d test vectors as expected\n", TEST_VECTORS - wrong, TEST_VECTORS);
  return wrong != 0;
}
