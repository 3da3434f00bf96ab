#include "order_field.h"

#include <string.h>

static bool take_value(const struct order_field *field, const char *value) {
  uint64_t v = 0;
  if (field->text) {
    *field->text = value;
  } else if (field->words) {
    int word = file_word(value, field->words, field->n_words);
    *field->word = (unsigned)word;
    return word >= 0;
  } else if (!option_number(value, field->flag ? 1 : 65535, &v)) {
    return false;
  } else if (field->flag) {
    *field->flag = v != 0;
  } else {
    *field->number = (unsigned)v;
  }
  return true;
}

int order_take(const struct file_order *order, const struct order_field *fields, unsigned n, char why[static 256]) {
  for (unsigned i = 0; i < order->n_options; i++) {
    const struct option *option = &order->options[i];
    unsigned k = 0;
    while (k < n && strcmp(fields[k].key, option->key) != 0)
      k++;
    if (k == n || !take_value(&fields[k], option->value))
      return file_refuse(option, why);
  }
  return 0;
}
