#include "identity.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 16
#define FOLDED_MAX 1024

const char *agreement_name(enum agreement a) {
  static const char *const names[] = {"absent", "agrees", "differs"};
  return names[a];
}

/* ---- names ---- */

/* What a letter of Latin-1 Supplement or Latin Extended-A (U+00C0 to U+017F) is without its accent, in lower case: two
 * characters a letter, the second a blank where there is one only; two blanks: it parts words. */
static const char folded[] = "a a a a a a aec e e e e i i i i d n o o o o o   o u u u u y thss"  /* U+00C0.. */
                             "a a a a a a aec e e e e i i i i d n o o o o o   o u u u u y thy "  /* U+00E0.. */
                             "a a a a a a c c c c c c c c d d d d e e e e e e e e e e g g g g "  /* U+0100.. */
                             "g g g g h h h h i i i i i i i i i i ijijj j k k k l l l l l l l "  /* U+0120.. */
                             "l l l n n n n n n n n n o o o o o o oeoer r r r r r s s s s s s "  /* U+0140.. */
                             "s s t t t t t t u u u u u u u u u u u u w w y y y z z z z z z s "; /* U+0160.. */
static_assert(sizeof folded - 1 == 2 * (0x180 - 0xc0), "a pair a letter");

/* Lower-case ASCII words, each once, of both texts; others than Latin letters stay as their bytes. */
struct words {
  char text[FOLDED_MAX];
  const char *word[WORDS_MAX];
  unsigned n;
  bool all; /* none was left out */
};

/* U+0300 to U+036F: accents that stand for themselves. */
static bool is_accent(const unsigned char *p) {
  return p[0] == 0xcc || (p[0] == 0xcd && p[1] < 0xb0);
}

static void fold(const char *text, char ret[static FOLDED_MAX]) {
  size_t n = 0;
  for (const unsigned char *p = (const unsigned char *)text; *p && n + 3 < FOLDED_MAX; p++) {
    if (*p < 0x80) {
      char c = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
      ret[n++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : ' ';
    } else if (is_accent(p)) {
      p++;
    } else if (*p >= 0xc3 && *p <= 0xc5 && p[1]) {
      const char *pair = folded + 2 * (((*p & 0x1fu) << 6 | (p[1] & 0x3fu)) - 0xc0);
      ret[n++] = pair[0];
      if (pair[1] != ' ')
        ret[n++] = pair[1];
      p++;
    } else if (*p == 0xe2 && p[1] == 0x80 && p[2]) { /* dashes and quotes */
      ret[n++] = ' ';
      p += 2;
    } else if (*p == 0xc2 && p[1]) { /* no letters there */
      ret[n++] = ' ';
      p++;
    } else {
      ret[n++] = (char)*p;
    }
  }
  ret[n] = 0;
}

static bool has_word(const struct words *w, const char *word) {
  for (unsigned i = 0; i < w->n; i++)
    if (!strcmp(w->word[i], word))
      return true;
  return false;
}

static void words_of(const char *text, struct words *ret) {
  fold(text, ret->text);
  ret->n = 0;
  ret->all = true;
  char *rest = ret->text;
  for (char *word; (word = strtok_r(rest, " ", &rest));) {
    if (has_word(ret, word))
      continue;
    if (ret->n < WORDS_MAX)
      ret->word[ret->n++] = word;
    else
      ret->all = false;
  }
}

static bool all_in(const struct words *some, const struct words *in) {
  for (unsigned i = 0; i < some->n; i++)
    if (!has_word(in, some->word[i]))
      return false;
  return some->all && in->all;
}

static void both_names(const char *family, const char *given, struct words *ret) {
  char text[FOLDED_MAX];
  snprintf(text, sizeof text, "%s %s", family, given);
  words_of(text, ret);
}

/* The family name is there whole, and nothing is there that the patient is not called. */
static enum agreement check_name(const char *family, const char *given, const struct patient *patient) {
  struct words said, said_family, known, known_family;
  both_names(family, given, &said);
  words_of(family, &said_family);
  both_names(patient->family, patient->given, &known);
  words_of(patient->family, &known_family);
  if (!said.n || !known_family.n)
    return ABSENT;
  const struct words *where = *given ? &said_family : &said;
  return all_in(&said, &known) && all_in(&known_family, where) ? AGREES : DIFFERS;
}

/* ---- the rest ---- */

static const char *without_zeros(const char *text) {
  return strspn(text, "0123456789") == strlen(text) ? text + strspn(text, "0") : text;
}

static enum agreement check_text(const char *said, const char *known) {
  return !*said || !*known ? ABSENT : strcmp(said, known) ? DIFFERS : AGREES;
}

static const char *text_of(const json_t *subject, const char *key) {
  const char *text = json_text(subject, key);
  return text ? text : "";
}

struct identity_check identity_check(const json_t *subject, const struct patient *patient) {
  const char *id = text_of(subject, "id");
  return (struct identity_check){
      .name = check_name(text_of(subject, "family"), text_of(subject, "given"), patient),
      .birth_date = check_text(text_of(subject, "birth_date"), patient->birth_date),
      .id = *id ? check_text(without_zeros(id), without_zeros(patient->id)) : ABSENT,
      .sex = check_text(text_of(subject, "sex"), strcmp(patient->sex, "U") ? patient->sex : ""),
  };
}

bool identity_differs(const struct identity_check *c) {
  return c->name == DIFFERS || c->birth_date == DIFFERS || c->id == DIFFERS || c->sex == DIFFERS;
}

json_t *identity_json(const struct identity_check *c) {
  return json_pack("{s:s, s:s, s:s, s:s}", "birth_date", agreement_name(c->birth_date), "id", agreement_name(c->id),
                   "name", agreement_name(c->name), "sex", agreement_name(c->sex));
}
