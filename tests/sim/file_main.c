/*
 * file_maker: writes one file as a recorder of that format does.
 */
#include "file_maker.h"

#include "dicom_order.h"
#include "ecg90a_file.h"
#include "healforce_file.h"
#include "jpeg_file.h"
#include "scp_file.h"
#include "xml_order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2

/* In the order of --help. */
static const struct file_format *const formats[] = {
    &scp_format,    &ecg90a_format, &healforce_format, &jpeg_format,         &aecg_format,
    &sierra_format, &muse_format,   &dicom_ecg_format, &dicom_fundus_format,
};
#define FORMATS (sizeof(formats) / sizeof(*formats))

static void print_help(void) {
  printf("file_maker FORMAT [options] OUTPUT\n"
         "    writes a file as a recorder of that format does, all of it made up; - is standard output\n"
         "\n"
         "  --rate HZ            samples a second (the format's own)\n"
         "  --seconds N          of ECG (10)\n"
         "  --seed N             another heart, another eye (0)\n"
         "  --noise STEPS        of 5 uV, on either side (2)\n"
         "  --still              no drifting base line\n"
         "  --family, --given, --id TEXT, --birth-date YYYY-MM-DD, --sex M|F|O   whose it is (nobody's)\n"
         "  --time YYYY-MM-DDThh:mm:ss  when it was taken (2026-05-04T10:30:00); \"none\"\n"
         "  --marker TEXT        the recorder interprets, and each of its texts holds this\n"
         "  --option NAME=VALUE  of the format; may be repeated\n"
         "  --help\n");
  for (size_t i = 0; i < FORMATS; i++)
    printf("\n%s: %s", formats[i]->name, formats[i]->help);
}

static int complain(const char *what, const char *value) {
  fprintf(stderr, "file_maker: %s: '%s'\n", what, value);
  return EXIT_USAGE;
}

enum { RATE, SECONDS, SEED, NOISE, STILL, FAMILY, GIVEN, ID, BIRTH, SEX, TIME, MARKER, OPTION, HELP };

static const struct option_name {
  const char *name;
  bool argument;
} names[] = {
    [RATE] = {"rate", true},     [SECONDS] = {"seconds", true}, [SEED] = {"seed", true},
    [NOISE] = {"noise", true},   [STILL] = {"still", false},    [FAMILY] = {"family", true},
    [GIVEN] = {"given", true},   [ID] = {"id", true},           [BIRTH] = {"birth-date", true},
    [SEX] = {"sex", true},       [TIME] = {"time", true},       [MARKER] = {"marker", true},
    [OPTION] = {"option", true}, [HELP] = {"help", false},
};

static bool take_number(const char *text, uint64_t max, unsigned *ret) {
  uint64_t v;
  if (!option_number(text, max, &v))
    return false;
  *ret = (unsigned)v;
  return true;
}

/* An option's value may hold commas: it is one pair. */
static bool take_option(struct file_order *o, const char *text) {
  size_t key = strcspn(text, "=");
  struct option *to = &o->options[o->n_options];
  if (o->n_options == FILE_OPTIONS_MAX || !text[key] || key == 0 || key >= sizeof(to->key) ||
      strlen(text + key + 1) >= sizeof(to->value))
    return false;
  snprintf(to->key, sizeof(to->key), "%.*s", (int)key, text);
  snprintf(to->value, sizeof(to->value), "%s", text + key + 1);
  o->n_options++;
  return true;
}

static bool take(struct file_order *o, int which, const char *value) {
  switch (which) {
  case RATE:
    return take_number(value, 8000, &o->rate_hz) && o->rate_hz > 0;
  case SECONDS:
    return take_number(value, 3600, &o->seconds);
  case SEED:
    return take_number(value, UINT32_MAX, &o->seed);
  case NOISE:
    return take_number(value, 100, &o->noise_steps);
  case STILL:
    return o->still = true;
  case FAMILY:
    return (o->person.family = value) != NULL;
  case GIVEN:
    return (o->person.given = value) != NULL;
  case ID:
    return (o->person.id = value) != NULL;
  case BIRTH:
    return file_clock_parse(value, &o->person.birth);
  case SEX:
    o->person.sex = value[0];
    return value[0] && strchr("MFO", value[0]) && !value[1];
  case TIME:
    o->taken = (struct file_clock){0};
    return strcmp(value, "none") == 0 || file_clock_parse(value, &o->taken);
  case MARKER:
    return (o->marker = value) != NULL;
  default:
    return take_option(o, value);
  }
}

static int write_out(const char *path, const struct buf *b) {
  FILE *to = strcmp(path, "-") == 0 ? stdout : fopen(path, "wbe");
  if (!to || fwrite(b->data, 1, b->len, to) != b->len || fflush(to) != 0) {
    fprintf(stderr, "file_maker: %s: %s\n", path, strerror(errno));
    return EXIT_FAILURE;
  }
  return fclose(to) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int make(const struct file_format *format, const struct file_order *o, const char *path) {
  char why[256] = "";
  struct buf _buf_cleanup_ b = BUF_INIT(256u << 20);
  int r = format->make(o, &b, why);
  if (r < 0) {
    fprintf(stderr, "file_maker: %s: %s\n", format->name, why[0] ? why : strerror(-r));
    return EXIT_FAILURE;
  }
  return write_out(path, &b);
}

/* The option that the word names, and its value, in the word itself or in the next; -1. */
static int option_of(char ***at, const char **ret_value) {
  const char *word = **at + 2;
  size_t len = strcspn(word, "=");
  for (int i = 0; i < (int)(sizeof(names) / sizeof(*names)); i++) {
    if (strlen(names[i].name) != len || memcmp(names[i].name, word, len) != 0)
      continue;
    *ret_value = word[len] ? word + len + 1 : NULL;
    if (!names[i].argument)
      return *ret_value ? -1 : i;
    if (!*ret_value)
      *ret_value = *++*at;
    return *ret_value ? i : -1;
  }
  return -1;
}

static const struct file_format *format_of(const char *name) {
  for (size_t i = 0; i < FORMATS; i++)
    if (strcmp(formats[i]->name, name) == 0)
      return formats[i];
  return NULL;
}

int main(int argc __attribute__((unused)), char **argv) {
  static struct file_order o = {.seconds = 10, .noise_steps = 2, .taken = {2026, 5, 4, 10, 30, 0}};
  const char *words[2] = {NULL, NULL}; /* the format and the file */
  unsigned n_words = 0;
  for (char **at = argv + 1; *at; at++) {
    const char *word = *at, *value = NULL;
    if (strncmp(word, "--", 2) != 0) {
      if (n_words == 2)
        return complain("one word too many", word);
      words[n_words++] = word;
      continue;
    }
    int which = option_of(&at, &value);
    if (which == HELP) {
      print_help();
      return EXIT_SUCCESS;
    }
    if (which < 0 || !take(&o, which, value))
      return complain("no such option, or not with this value", value ? value : word);
  }
  const struct file_format *format = words[0] ? format_of(words[0]) : NULL;
  if (!format || !words[1])
    return complain(format ? "and the file's name?" : "no such format", words[0] ? words[0] : "");
  return make(format, &o, words[1]);
}
