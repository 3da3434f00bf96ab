/* The options of a file format as a table: what each key sets. */
#ifndef ASALEED_SIM_ORDER_FIELD_H
#define ASALEED_SIM_ORDER_FIELD_H

#include "file_maker.h"

#include <stdbool.h>

/* One of the pointers is not NULL. */
struct order_field {
  const char *key;
  const char **text;
  bool *flag;       /* 0 or 1 */
  unsigned *number; /* to 65535 */
  unsigned *word;   /* the value's place among the words */
  const char *const *words;
  unsigned n_words;
};

/* The rows of such tables. to: a pointer to an enum, or to an int that is never negative, will do for an unsigned. */
#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define WORDS(key, to, words) \
  { key, NULL, NULL, NULL, (unsigned *)(to), words, COUNT(words) }
#define FLAG(key, to) \
  { key, NULL, to, NULL, NULL, NULL, 0 }
#define TEXT(key, to) \
  { key, to, NULL, NULL, NULL, NULL, 0 }
#define NUMBER(key, to) \
  { key, NULL, NULL, (unsigned *)(to), NULL, NULL, 0 }
/* facts: a struct ecg_facts. */
#define DEVICE(facts)                                                                               \
  TEXT("maker", &(facts)->maker), TEXT("model", &(facts)->model), TEXT("serial", &(facts)->serial), \
      TEXT("software", &(facts)->software)

/* Takes all options of the order. 0; -EINVAL, why says which is wrong. */
int order_take(const struct file_order *order, const struct order_field *fields, unsigned n, char why[static 256]);

#endif
