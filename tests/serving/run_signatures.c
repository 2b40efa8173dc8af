/* Loads a SavedModel by TensorFlow's C API and runs its signatures, as a program without Python
 * would. Reads jobs from a text file of words:
 *
 *   export FOLDER                       load this one, for the runs that follow
 *   run INPUTS OUTPUTS                  and then, for each of them,
 *     OPERATION INDEX TYPE FILE RANK SIZES...
 *
 * A file of numbers is their bytes. A file of strings is, for each, its length as uint64 and its
 * bytes. The rank of an output is given as 0.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

#define MOST 4      /* inputs or outputs of a signature */
#define MOST_RANK 6 /* of a tensor */

static void check(int fine, const char *what, const char *message) {
  if (fine) return;
  fprintf(stderr, "%s: %s\n", what, message);
  exit(1);
}

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  check(file != NULL, path, "cannot be read");
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(*size + 1);
  check(fread(bytes, 1, *size, file) == *size, path, "is cut off");
  fclose(file);
  return bytes;
}

static TF_Tensor *read_tensor(const char *path, int type, const int64_t *sizes, int rank) {
  size_t size, number = 1;
  char *bytes = read_file(path, &size);
  for (int i = 0; i < rank; i++) number *= (size_t)sizes[i];
  size_t wanted = type == TF_STRING ? number * sizeof(TF_TString) : size;
  TF_Tensor *tensor = TF_AllocateTensor((TF_DataType)type, sizes, rank, wanted);
  if (type == TF_STRING) {
    TF_TString *strings = TF_TensorData(tensor);
    const char *next = bytes;
    for (size_t i = 0; i < number; i++) {
      uint64_t length;
      memcpy(&length, next, sizeof length);
      next += sizeof length;
      TF_StringInit(&strings[i]);
      TF_StringCopy(&strings[i], next, length);
      next += length;
    }
  } else {
    memcpy(TF_TensorData(tensor), bytes, size);
  }
  free(bytes);
  return tensor;
}

static void write_tensor(const char *path, const TF_Tensor *tensor) {
  FILE *file = fopen(path, "wb");
  check(file != NULL, path, "cannot be written");
  if (TF_TensorType(tensor) == TF_STRING) {
    const TF_TString *strings = TF_TensorData(tensor);
    for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
      uint64_t length = TF_StringGetSize(&strings[i]);
      fwrite(&length, sizeof length, 1, file);
      fwrite(TF_StringGetDataPointer(&strings[i]), 1, length, file);
    }
  } else {
    fwrite(TF_TensorData(tensor), 1, TF_TensorByteSize(tensor), file);
  }
  fclose(file);
}

int main(int count, char **arguments) {
  check(count == 2, "usage", "run_signatures JOBS");
  FILE *jobs = fopen(arguments[1], "r");
  check(jobs != NULL, arguments[1], "cannot be read");
  TF_Status *status = TF_NewStatus();
  TF_Session *session = NULL;
  TF_Graph *graph = NULL;
  const char *tags[] = {"serve"};
  char word[16], folder[4096], operation[1024], path[4096], outputs_to[MOST][4096];

  while (fscanf(jobs, "%15s", word) == 1) {
    if (strcmp(word, "export") == 0) {
      check(fscanf(jobs, "%4095s", folder) == 1, "job", "without a folder");
      TF_SessionOptions *options = TF_NewSessionOptions();
      graph = TF_NewGraph();
      session = TF_LoadSessionFromSavedModel(options, NULL, folder, tags, 1, graph, NULL, status);
      check(TF_GetCode(status) == TF_OK, folder, TF_Message(status));
      continue;
    }
    int numbers[2];
    check(fscanf(jobs, "%d %d", &numbers[0], &numbers[1]) == 2, "job", "without its numbers");
    TF_Output ends[2][MOST];
    TF_Tensor *given[MOST], *found[MOST] = {NULL};
    for (int side = 0; side < 2; side++) {
      for (int i = 0; i < numbers[side]; i++) {
        int index, type, rank;
        int64_t sizes[MOST_RANK];
        check(fscanf(jobs, "%1023s %d %d %4095s %d", operation, &index, &type, path, &rank) == 5,
              "job", "is cut off");
        for (int k = 0; k < rank; k++) {
          long size;
          check(fscanf(jobs, "%ld", &size) == 1, "job", "without a size");
          sizes[k] = size;
        }
        ends[side][i].oper = TF_GraphOperationByName(graph, operation);
        ends[side][i].index = index;
        check(ends[side][i].oper != NULL, operation, "is not in the graph");
        if (side == 0) {
          given[i] = read_tensor(path, type, sizes, rank);
        } else {
          strcpy(outputs_to[i], path);
        }
      }
    }
    TF_SessionRun(session, NULL, ends[0], given, numbers[0], ends[1], found, numbers[1], NULL, 0,
                  NULL, status);
    check(TF_GetCode(status) == TF_OK, operation, TF_Message(status));
    for (int i = 0; i < numbers[0]; i++) TF_DeleteTensor(given[i]);
    for (int i = 0; i < numbers[1]; i++) {
      write_tensor(outputs_to[i], found[i]);
      TF_DeleteTensor(found[i]);
    }
  }
  return 0;
}
