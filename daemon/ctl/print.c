#include "print.h"

#include "str.h"
#include "wall.h"
#include <errno.h>
#include <string.h>

/* ---- texts -------------------------------------------------------------------------------------------------- */

/* One code point of at most n bytes: its length, or 0 when the bytes are not UTF-8. */
static size_t utf8_next(const char *text, size_t n, uint32_t *ret) {
  const uint8_t *p = (const uint8_t *)text;
  if (p[0] < 0x80) {
    *ret = p[0];
    return 1;
  }
  size_t size = p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : 0;
  if (!size || size > n)
    return 0;
  uint32_t c = p[0] & (0x7fu >> size);
  for (size_t i = 1; i < size; i++) {
    if ((p[i] & 0xc0) != 0x80)
      return 0;
    c = c << 6 | (p[i] & 0x3f);
  }
  if ((size == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (size == 4 && (c < 0x10000 || c > 0x10ffff)))
    return 0;
  *ret = c;
  return size;
}

static bool is_control(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb);
}

int clean_text(struct buf *b, const char *text, size_t n, bool lines) {
  for (size_t i = 0; i < n;) {
    uint32_t c = 0;
    size_t size = utf8_next(text + i, n - i, &c);
    if (!size)
      buf_u8(b, '?');
    else if (c == '\n' || c == '\t')
      buf_u8(b, lines ? (uint8_t)c : ' ');
    else if (!is_control(c))
      buf_add(b, text + i, size);
    i += size ? size : 1;
  }
  return b->err;
}

void print_text(FILE *f, const char *text) {
  _buf_cleanup_ struct buf b = BUF_INIT(1u << 20);
  clean_text(&b, text ? text : "—", strlen(text ? text : "—"), false);
  const char *clean = buf_cstr(&b);
  fputs(clean ? clean : "(texte trop long)", f);
}

size_t text_width(const char *text) {
  size_t n = 0;
  for (; *text; text++)
    n += (*text & 0xc0) != 0x80;
  return n;
}

size_t text_prefix(const char *text, size_t width) {
  const char *p = text;
  for (; *p; p++)
    if ((*p & 0xc0) != 0x80 && width-- == 0)
      break;
  return (size_t)(p - text);
}

void print_json(FILE *f, const char *json, size_t n, bool tty) {
  _buf_cleanup_ struct buf b = BUF_INIT(n + 64);
  bool in_text = false;
  for (size_t i = 0; i < n; i++) {
    char c = json[i];
    if (!in_text && strchr(" \t\r\n", c))
      continue;
    buf_u8(&b, (uint8_t)c);
    if (in_text && c == '\\' && i + 1 < n)
      buf_u8(&b, (uint8_t)json[++i]);
    else if (c == '"')
      in_text = !in_text;
  }
  if (tty) {
    _buf_cleanup_ struct buf clean = BUF_INIT(n + 64);
    if (b.data)
      clean_text(&clean, (const char *)b.data, b.len, false);
    fwrite(clean.data, 1, clean.len, f);
  } else {
    fwrite(b.data, 1, b.len, f);
  }
  fputc('\n', f);
}

/* ---- tables ------------------------------------------------------------------------------------------------- */

void table_init(struct table *t, const char *const *heads) {
  *t = (struct table){.heads = heads, .cells = BUF_INIT(64u << 20)};
  while (heads[t->columns])
    t->columns++;
}

static size_t table_cells(const struct table *t) {
  return t->cells.len / sizeof(char *);
}

static char **table_at(const struct table *t) {
  return (char **)(void *)t->cells.data;
}

void table_finish(struct table *t) {
  for (size_t i = 0; i < table_cells(t); i++)
    free(table_at(t)[i]);
  buf_finish(&t->cells);
}

void table_add(struct table *t, const char *text) {
  struct buf b = BUF_INIT(1u << 20);
  if (!text || !*text)
    text = "—";
  clean_text(&b, text, strlen(text), false);
  buf_u8(&b, 0);
  size_t n;
  char *cell = (char *)buf_take(&b, &n);
  if (!cell || !buf_extend(&t->cells, sizeof cell)) {
    fputs("asaleectl: mémoire insuffisante\n", stderr);
    exit(1);
  }
  memcpy(t->cells.data + t->cells.len - sizeof cell, &cell, sizeof cell);
}

void table_addf(struct table *t, const char *format, ...) {
  char text[512];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  table_add(t, text);
}

size_t table_rows(const struct table *t) {
  return table_cells(t) / t->columns;
}

static void table_line(const struct table *t, FILE *f, const char *const *cells, const size_t *widths) {
  for (size_t c = 0; c < t->columns; c++) {
    fputs(cells[c], f);
    if (c + 1 == t->columns)
      break;
    for (size_t pad = widths[c] + 2 - text_width(cells[c]); pad; pad--)
      fputc(' ', f);
  }
  fputc('\n', f);
}

void table_print(struct table *t, FILE *f, const char *empty) {
  size_t rows = table_rows(t), widths[16] = {0};
  if (!rows) {
    fprintf(f, "%s\n", empty);
    return;
  }
  for (size_t c = 0; c < t->columns; c++) {
    widths[c] = text_width(t->heads[c]);
    for (size_t r = 0; r < rows; r++) {
      size_t width = text_width(table_at(t)[r * t->columns + c]);
      widths[c] = width > widths[c] ? width : widths[c];
    }
  }
  table_line(t, f, t->heads, widths);
  for (size_t r = 0; r < rows; r++)
    table_line(t, f, (const char *const *)(table_at(t) + r * t->columns), widths);
}

void print_field(FILE *f, const char *label, const char *text) {
  fputs(label, f);
  for (size_t n = text_width(label); n < 16; n++)
    fputc(' ', f);
  fputs(" : ", f);
  print_text(f, text && *text ? text : NULL);
  fputc('\n', f);
}

void print_fieldf(FILE *f, const char *label, const char *format, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  print_field(f, label, text);
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static char *show_room(size_t *ret_size) {
  static char rooms[8][320];
  static unsigned next;
  *ret_size = sizeof rooms[0];
  return rooms[next++ % 8];
}

const char *show_time(const char *rfc3339) {
  struct wall w;
  if (!rfc3339 || wall_parse(rfc3339, &w) < 0)
    return rfc3339;
  char text[WALL_TEXT_MAX];
  size_t size;
  char *room = show_room(&size);
  wall_format(wall_local(w.us), text);
  snprintf(room, size, "%.2s/%.2s/%.4s %.5s", text + 8, text + 5, text, text + 11);
  return room;
}

const char *show_date(const char *date) {
  if (!date || !wall_is_date(date))
    return date;
  size_t size;
  char *room = show_room(&size);
  snprintf(room, size, "%.2s/%.2s/%.4s", date + 8, date + 5, date);
  return room;
}

const char *show_age(int64_t seconds) {
  size_t size;
  char *room = show_room(&size);
  int64_t minutes = seconds / 60;
  if (seconds < 60)
    snprintf(room, size, "%d s", (int)(seconds < 0 ? 0 : seconds));
  else if (minutes < 60)
    snprintf(room, size, "%d min", (int)minutes);
  else if (minutes < 24 * 60)
    snprintf(room, size, "%d h %02d", (int)(minutes / 60), (int)(minutes % 60));
  else
    snprintf(room, size, "%lld j %d h", (long long)(minutes / 1440), (int)(minutes % 1440 / 60));
  return room;
}

const char *show_patient(const json_t *patient) {
  if (json_is_string(patient))
    return json_string_value(patient);
  const char *family = json_text(patient, "family"), *given = json_text(patient, "given");
  if (!family && !given)
    return json_text(patient, "id");
  size_t size;
  char *room = show_room(&size);
  snprintf(room, size, "%s %s", family ? family : "", given ? given : "");
  return room;
}

const char *show_int(const json_t *object, const char *key) {
  const json_t *member = json_object_get(object, key);
  if (!json_is_integer(member))
    return NULL;
  size_t size;
  char *room = show_room(&size);
  snprintf(room, size, "%lld", (long long)json_integer_value(member));
  return room;
}

const char *show_bytes(uint64_t bytes) {
  size_t size;
  char *room = show_room(&size);
  uint64_t tenths = (bytes * 10 + (1u << 19)) >> 20;
  if (bytes < 1024)
    snprintf(room, size, "%d octet%s", (int)bytes, bytes > 1 ? "s" : "");
  else if (tenths < 10)
    snprintf(room, size, "%d Kio", (int)((bytes + 512) >> 10));
  else
    snprintf(room, size, "%llu,%d Mio", (unsigned long long)(tenths / 10), (int)(tenths % 10));
  return room;
}

struct word {
  const char *code, *french;
};

static const char *word(const struct word *words, const char *code) {
  for (; code && words->code; words++)
    if (!strcmp(words->code, code))
      return words->french;
  return code;
}

const char *say_state(const char *state) {
  static const struct word words[] = {{"ordered", "à faire"},
                                      {"acquiring", "en cours"},
                                      {"acquired", "à accepter"},
                                      {"to_interpret", "à interpréter"},
                                      {"interpreting", "en lecture"},
                                      {"interpreted", "interprété"},
                                      {"returned", "renvoyé"},
                                      {"cancelled", "annulé"},
                                      {0}};
  return word(words, state);
}

const char *say_role(const char *role) {
  static const struct word words[] = {{"nurse", "infirmier(ère)"},
                                      {"gp", "médecin"},
                                      {"ophthalmologist", "ophtalmologiste"},
                                      {"admin", "administrateur"},
                                      {"lgc", "logiciel (LGC)"},
                                      {"auditor", "auditeur"},
                                      {0}};
  return word(words, role);
}

const char *say_modality(const char *modality) {
  static const struct word words[] = {
      {"ecg", "ECG"}, {"spirometry", "spirométrie"}, {"fundus", "fond d'œil"}, {"measurement", "mesure"}, {0}};
  return word(words, modality);
}

const char *say_maturity(const char *maturity) {
  static const struct word words[] = {
      {"simulated", "simulé"}, {"experimental", "expérimental"}, {"verified", "vérifié"}, {0}};
  return word(words, maturity);
}

const char *say_conclusion(const char *conclusion) {
  static const struct word words[] = {
      {"normal", "normal"}, {"abnormal", "anormal"}, {"uninterpretable", "ininterprétable"}, {0}};
  return word(words, conclusion);
}

const char *say_sex(const char *sex) {
  static const struct word words[] = {{"M", "masculin"}, {"F", "féminin"}, {"U", "non précisé"}, {0}};
  return word(words, sex);
}

const char *say_severity(const char *severity) {
  static const struct word words[] = {
      {"info", "information"}, {"check", "à vérifier"}, {"unusable", "inexploitable"}, {0}};
  return word(words, severity);
}

const char *say_kind(const char *kind) {
  static const struct word words[] = {{"patient", "patient"},
                                      {"order", "prescription"},
                                      {"study", "examen"},
                                      {"record", "enregistrement"},
                                      {"interpretation", "interprétation"},
                                      {"followup", "suivi"},
                                      {0}};
  return word(words, kind);
}

const char *say_store(const char *store) {
  static const struct word words[] = {
      {"ok", "en ordre"}, {"read_only", "en lecture seule"}, {"full", "plein : libérer de la place"}, {0}};
  return word(words, store);
}

const char *say_end(const char *end) {
  static const struct word words[] = {{"ok", "complet"},  {"error", "erreur"}, {"cancel", "annulé"},
                                      {"crash", "panne"}, {"none", "coupé"},   {0}};
  return word(words, end);
}

const char *say_file(const char *state) {
  static const struct word words[] = {{"waiting", "en attente"},
                                      {"decoding", "en lecture"},
                                      {"unmatched", "à attribuer"},
                                      {"attached", "attribué"},
                                      {"discarded", "écarté"},
                                      {"refused", "refusé"},
                                      {0}};
  return word(words, state);
}

const char *say_source(const char *source) {
  static const struct word words[] = {{"upload", "envoyé"}, {"folder", "dossier"}, {"stick", "clé USB"}, {0}};
  return word(words, source);
}

const char *say_why(const char *why) {
  static const struct word words[] = {{"no_order", "aucune prescription"}, {"time", "faite à un autre moment"},
                                      {"identity", "identité à vérifier"}, {"act", "autre examen que prescrit"},
                                      {"unreadable", "illisible"},         {0}};
  return word(words, why);
}

const char *say_out(const char *what) {
  static const struct word words[] = {
      {"attached", "attribuée"}, {"discarded", "écartée"}, {"decoded_again", "relue"}, {0}};
  const char *french = word(words, what);
  return french ? french : "?";
}

const char *say_media(const char *state) {
  static const struct word words[] = {
      {"idle", "en attente"}, {"copying", "copie en cours"}, {"done", "copie finie"}, {"failed", "copie échouée"}, {0}};
  return word(words, state);
}

const char *say_notice(const char *kind) {
  static const struct word words[] = {{"page", "APPEL : patient symptomatique"},
                                      {"page_again", "APPEL resté sans réponse"},
                                      {"reminder", "bientôt à rendre"},
                                      {"overdue", "en retard"},
                                      {"returned", "renvoyé, à refaire"},
                                      {"delegation", "délégation qui se termine"},
                                      {0}};
  return word(words, kind);
}

const char *say_sees(const char *part) {
  static const struct word words[] = {
      {"quality", "qualité technique"}, {"acquired", "valeurs et tracés"}, {"nothing", "rien"},
      {"conclusion", "conclusion"},     {"report", "compte rendu"},        {0}};
  return word(words, part);
}

const char *say_ins_status(const char *status) {
  static const struct word words[] = {{"provisional", "provisoire"},
                                      {"retrieved", "récupérée"},
                                      {"validated", "validée"},
                                      {"qualified", "qualifiée"},
                                      {0}};
  return word(words, status);
}

const char *french_number(const char *text, char number[static DEC_TEXT_MAX]) {
  if (!text || !str_copy(number, DEC_TEXT_MAX, text))
    return "?";
  char *point = strchr(number, '.');
  if (point)
    *point = ',';
  return number;
}
