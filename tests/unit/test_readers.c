/* Several readers, a nurse and the clock at the same studies, step by step in random order. What each step does is
 * predicted by a model that keeps to the headers and shares no code with the core: the first difference fails with
 * the seed, the sequence and its steps. "test_readers SEED" goes through the same again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "buf.h"
#include "followup.h"
#include "fundus.h"
#include "interpret.h"
#include "log.h"
#include "notice.h"
#include "proof.h"
#include "reading.h"
#include "store_tables.h"
#include "str.h"
#include "wall.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#define STORES 10
#define SEQUENCES 1000 /* in each store */
#define STEPS_MIN 10
#define STEPS_MORE 9
#define STUDIES_MAX 8 /* of one sequence, repeats among them */
#define VERSIONS_MAX 16
#define TOKENS_MAX 64
#define READINGS 4 /* of one study, each of other bytes */

#define MINUTE (60 * WALL_SECOND)
#define START (INT64_C(1772452800) * WALL_SECOND) /* 2026-03-02T12:00:00Z */

/* ---- chance and time ---- */

static uint64_t seed = 1, dice_state;

/* SplitMix64: 0..n-1. */
static unsigned dice(unsigned n) {
  uint64_t z = dice_state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (unsigned)(((z ^ (z >> 31)) >> 32) * n >> 32);
}

static bool one_in(unsigned n) {
  return dice(n) == 0;
}

/* The system's clock, which a step of the test moves and which each look at it moves a little. */
static int64_t clock_us = START;
int clock_gettime(clockid_t id, struct timespec *ret) {
  if (id != CLOCK_REALTIME)
    return (int)syscall(SYS_clock_gettime, id, ret);
  clock_us++;
  *ret = (struct timespec){.tv_sec = clock_us / WALL_SECOND, .tv_nsec = clock_us % WALL_SECOND * 1000};
  return 0;
}

/* What survives a power cut is tested elsewhere (crash.py): here nothing waits for the disk. */
int fsync(int fd) {
  (void)fd;
  return 0;
}
int fdatasync(int fd) {
  (void)fd;
  return 0;
}

/* The log is silent while commits fail and files are damaged on purpose. */
static void quiet(bool on) {
  log_open("test", on ? LOG_ERROR - 1 : LOG_ERROR);
}

/* ---- the practice ---- */

static const char protocol[] = "[protocol tous]\nlabel = Tous les actes\n"
                               "[act ecg]\nprescribe = yes\nperform = yes\ndelay-hours = 24\n"
                               "[act spirometry]\nprescribe = yes\nperform = yes\ndelay-hours = 72\n"
                               "[act fundus]\nprescribe = yes\nperform = yes\ndelay-hours = 72\n"
                               "reader = ophthalmologist\nauthorisation = Protocole de test\n"
                               "[act measurement]\nprescribe = yes\nperform = yes\ndelay-hours = 72\n";
static struct conf conf;

enum { GPS = 3, READERS = 5 };
/* The readers first: `person` is whom a call is written under. */
static const struct {
  const char *name, *rpps;
  enum role role;
  int person;
} people[] = {
    {"martin", "10100000011", ROLE_GP, 0},
    {"durand", "10100000022", ROLE_GP, 1},
    {"petit", "10100000033", ROLE_GP, 2},
    {"olga", "10100000044", ROLE_OPHTHALMOLOGIST, 3},
    {"oscar", "10100000055", ROLE_OPHTHALMOLOGIST, 4},
    {"ines", "10100000066", ROLE_NURSE, 5},
    {"adele", NULL, ROLE_ADMIN, 6},
    {"logiciel", NULL, ROLE_LGC, 0}, /* acts for martin */
};
#define PEOPLE (sizeof people / sizeof *people)
enum { INES = 5, LOGICIEL = 7 };
static struct caller callers[PEOPLE];
static const struct actor root = {.name = "root"};

static const char *const patients[] = {"P1", "P2", "P3"};
/* Records as they would be decoded: canonical JSON, each of other bytes. */
static char record_sha[READINGS][HASH_TEXT], fundus_sha[READINGS][HASH_TEXT], capture_sha[HASH_TEXT];
static json_t *record_json[READINGS], *fundus_record[READINGS];

static void ok(enum problem p) {
  assert_string_equal(problem_code(p), problem_code(P_OK));
}

static void read_protocol(struct store_bed *b) {
  conf_finish(&conf);
  conf_defaults(&conf);
  snprintf(conf.protocols_dir, sizeof conf.protocols_dir, "%s/protocols.d", b->dir);
  assert_int_equal(mkdir(conf.protocols_dir, 0700), 0);
  FILE *f = fopen(bed_path(b, "protocols.d/tous.conf"), "we");
  assert_non_null(f);
  fputs(protocol, f);
  fclose(f);
  assert_int_equal(conf_read_protocols(&conf), 0);
}

static void put_record(struct store_bed *b, json_t *json, json_t **ret, char ret_sha[static HASH_TEXT]) {
  size_t n;
  _free_cleanup_ char *text = json_canonical(json, &n);
  assert_non_null(text);
  assert_int_equal(artefact_put(b->artefacts, b->store, "record", text, n, 1, ret_sha), 0);
  json_decref(*ret);
  *ret = json;
}

static void put_records(struct store_bed *b) {
  char picture[HASH_TEXT];
  assert_int_equal(artefact_put(b->artefacts, b->store, "capture", "capture", 7, 1, capture_sha), 0);
  assert_int_equal(artefact_put(b->artefacts, b->store, "blob", "picture", 7, 1, picture), 0);
  for (int i = 0; i < READINGS; i++) {
    put_record(b, json_pack("{s:b, s:i}", "complete", 1, "n", i), &record_json[i], record_sha[i]);
    put_record(b,
               json_pack("{s:{s:[{s:i, s:s}]}, s:b, s:i}", "acquired", "pictures", "number", 1, "sha256", picture,
                         "complete", 1, "n", i),
               &fundus_record[i], fundus_sha[i]);
  }
}

static void practice(struct store_bed *b) {
  char token[TOKEN_DIGITS + 1];
  bool is_new;
  int64_t id;
  read_protocol(b);
  bed_begin(b);
  for (size_t i = 0; i < PEOPLE; i++) {
    ok(people_add(b->store, &root, people[i].name, people[i].role, people[i].name, token));
    if (!people[i].rpps)
      continue;
    struct professional x = {.family = "NOM", .given = "Prénom", .role = people[i].role, .finess = "750000001"};
    str_copy(x.rpps, sizeof x.rpps, people[i].rpps);
    ok(registry_professional_put(b->store, &root, &x, &is_new));
    ok(people_link(b->store, &root, people[i].name, people[i].rpps));
  }
  ok(people_grant(b->store, &root, people[LOGICIEL].name, people[0].name, true));
  for (size_t i = 0; i < PEOPLE; i++)
    ok(people_by_name(b->store, people[i].name, &callers[i]));
  ok(people_act_for(b->store, &callers[LOGICIEL], people[0].name));
  for (int i = 0; i < GPS; i++) {
    const char *field;
    const struct delegation d = {.nurse = people[INES].rpps,
                                 .gp = people[i].rpps,
                                 .protocol = "tous",
                                 .authorisation = "Protocole de test",
                                 .authorised = "2020-01-01",
                                 .from = "2020-01-01",
                                 .until = "2090-12-31",
                                 .nurse_adhesion = "2020-01-01",
                                 .gp_adhesion = "2020-01-01"};
    struct patient p = {.family = "F", .given = "G", .birth_date = "1950-01-01", .sex = "F"};
    str_copy(p.id, sizeof p.id, patients[i]);
    ok(registry_delegate(b->store, &root, &d, &id, &field));
    ok(patient_put(b->store, &root, &p, 0, &is_new));
    ok(followup_open(b->store, &conf, &callers[INES], p.id, "tous", people[i].rpps, people[INES].rpps, &id));
  }
  put_records(b);
  bed_keep(b);
}

/* ---- the model ---- */

struct draft {
  int64_t version; /* 0 = none */
  unsigned text;
};

struct version {
  int by;
  int64_t amends;
  unsigned text;
};

/* A study as it must be. */
struct life {
  int64_t id, version, expires, repeats;
  enum study_state state;
  enum acq_modality act;
  enum role reader;
  int holder, readings, n_versions, pages, called; /* called: by the acceptance of an urgent repeat */
  bool standing, clean, urgent;
  char token[CLAIM_DIGITS + 1]; /* of the claim that holds, "" = none */
  struct draft drafts[READERS];
  struct version versions[VERSIONS_MAX];
  unsigned events[EVENTS];
};

struct world {
  unsigned n;
  struct life life[STUDIES_MAX];
};
static struct world now, kept; /* with what waits for the commit, and without */

/* What a caller once saw of a study. */
static struct sight {
  bool has;
  struct study study;
  struct life life;
} sights[PEOPLE][STUDIES_MAX];

/* Every token that was ever given out in this sequence. */
static char issued[TOKENS_MAX][CLAIM_DIGITS + 1];
static unsigned n_issued, texts;

/* One step: who, which study, as the caller saw it and as it is. */
struct step {
  struct store_bed *b;
  const struct caller *c;
  int person;
  struct study y;
  struct life saw, *is;
  int64_t at; /* the clock before it */
  enum problem expected;
};

static bool reads(const struct step *x) {
  return x->c->role == ROLE_GP || x->c->role == ROLE_OPHTHALMOLOGIST;
}

static bool acquires(const struct step *x) {
  return x->c->role == ROLE_NURSE || x->c->role == ROLE_GP;
}

/* All that was seen allows it; what was seen must still be so. */
static enum problem unless_changed(const struct step *x) {
  return x->saw.version == x->is->version ? P_OK : P_precondition_failed;
}

static enum problem model_claim(const struct step *x) {
  if (!reads(x))
    return P_forbidden;
  if (x->c->role != x->saw.reader)
    return P_wrong_reader;
  if (x->saw.state == INTERPRETING && x->saw.holder != x->person && x->saw.expires > x->at)
    return P_already_claimed;
  return x->saw.state == INTERPRETING || x->saw.state == TO_INTERPRET ? unless_changed(x) : P_wrong_state;
}

static bool holds(const struct step *x, const char *token) {
  return x->is->token[0] && !strcmp(token, x->is->token) && x->saw.holder == x->person && x->saw.expires > x->at;
}

/* Signing, releasing, returning; referring what is claimed. */
static enum problem model_end(const struct step *x, const char *token) {
  if (!reads(x))
    return P_forbidden;
  if (x->c->role != x->saw.reader)
    return P_wrong_reader;
  if (x->saw.state == CANCELLED)
    return P_wrong_state;
  return x->saw.state == INTERPRETING && holds(x, token) ? unless_changed(x) : P_stale_token;
}

static enum problem model_refer(const struct step *x, const char *token, const char *reader) {
  if ((strcmp(reader, "gp") && strcmp(reader, "ophthalmologist")) || !strcmp(reader, role_name(x->saw.reader)))
    return P_invalid_field;
  if (token || x->saw.state != TO_INTERPRET)
    return model_end(x, token ? token : "");
  return x->c->role == ROLE_GP ? unless_changed(x) : P_forbidden; /* from the queue */
}

static enum problem model_amend(const struct step *x, bool valid, int64_t version) {
  if (!reads(x))
    return P_forbidden;
  if (x->saw.state != INTERPRETED)
    return P_wrong_state;
  if (x->c->role != x->saw.reader)
    return P_wrong_reader;
  if (!valid)
    return P_invalid_field;
  return version == x->is->n_versions ? unless_changed(x) : P_precondition_failed;
}

static enum problem model_cancel(const struct step *x) {
  if (!acquires(x))
    return P_forbidden;
  if (x->saw.state == TO_INTERPRET)
    return x->c->role == ROLE_GP ? unless_changed(x) : P_forbidden;
  return x->saw.state == ORDERED || x->saw.state == ACQUIRED ? unless_changed(x) : P_wrong_state;
}

static enum problem model_draft(const struct step *x, int64_t if_match) {
  const int64_t known = x->is->drafts[x->person].version;
  if (x->saw.state != TO_INTERPRET && x->saw.state != INTERPRETING && x->saw.state != INTERPRETED)
    return P_wrong_state;
  if (known && if_match == 0)
    return P_precondition_required;
  return if_match == 0 || (known && (if_match == known || if_match == -1)) ? P_OK : P_precondition_failed;
}

static enum problem model_accept(const struct step *x, bool confirmed) {
  if (!acquires(x))
    return P_forbidden;
  if (x->saw.state != ACQUIRED)
    return P_wrong_state;
  if (x->saw.act == ACQ_FUNDUS && !x->is->standing) /* set aside since it was seen */
    return P_pictures_none;
  /* No retinography of these has all its views. */
  if (!confirmed && (!x->saw.clean || x->saw.act == ACQ_FUNDUS))
    return P_confirmation_needed;
  return unless_changed(x);
}

static void become(struct life *is, enum study_event event, enum study_state to) {
  is->events[event]++;
  is->version++;
  is->state = to;
  if (to != INTERPRETING) {
    is->token[0] = 0;
    is->holder = -1;
    is->expires = 0;
  }
}

static void add_version(struct step *x, int64_t amends, unsigned text) {
  assert_true(x->is->n_versions < VERSIONS_MAX);
  x->is->versions[x->is->n_versions++] = (struct version){.by = x->person, .amends = amends, .text = text};
  x->is->drafts[x->person] = (struct draft){0};
}

static struct life new_life(int64_t id, enum acq_modality act, enum role reader) {
  return (struct life){
      .id = id, .version = 1, .state = ORDERED, .act = act, .reader = reader, .holder = -1, .clean = true};
}

/* ---- what is said ---- */

static void text_of(unsigned number, char ret[static 32]) {
  snprintf(ret, 32, "Compte rendu n° %u", number);
}

static const struct said {
  enum acq_modality act;
  bool valid;
  const char *conclusion, *findings;
} said[] = {
    {ACQ_ECG, true, "normal", "{\"rhythm\":\"sinus\"}"},
    {ACQ_ECG, true, "abnormal", "{\"rhythm\":\"atrial_fibrillation\",\"signs\":[\"rbbb\",\"long_qt\"]}"},
    {ACQ_ECG, true, "uninterpretable", NULL},
    {ACQ_ECG, false, "normal", "{\"rhythm\":\"atrial_fibrillation\"}"},
    {ACQ_ECG, false, "abnormal", NULL},
    {ACQ_ECG, false, "fine", "{\"rhythm\":\"sinus\"}"},
    {ACQ_SPIROMETRY, true, "normal", "{\"pattern\":\"normal\"}"},
    {ACQ_SPIROMETRY, true, "abnormal", "{\"pattern\":\"obstruction\",\"reversibility\":\"present\"}"},
    {ACQ_SPIROMETRY, false, "abnormal", "{\"rhythm\":\"sinus\"}"},
    {ACQ_FUNDUS, true, "normal", "{\"left_retinopathy\":\"none\",\"right_retinopathy\":\"none\"}"},
    {ACQ_FUNDUS, true, "abnormal", "{\"left_retinopathy\":\"pdr\",\"right_retinopathy\":\"none\"}"},
    {ACQ_FUNDUS, false, "normal", "{\"left_retinopathy\":\"none\"}"},
    {ACQ_MEASUREMENT, true, "normal", "{}"},
    {ACQ_MEASUREMENT, true, "abnormal", NULL},
    {ACQ_MEASUREMENT, false, "normal", "{\"rhythm\":\"sinus\"}"},
};

static const struct said *say(enum acq_modality act, bool valid) {
  const struct said *s;
  do
    s = &said[dice(sizeof said / sizeof *said)];
  while (s->act != act || s->valid != valid);
  return s;
}

/* The right token mostly; else one that was right for somebody, somewhere, once; or none at all. */
static const char *pick_token(const struct step *x) {
  static char token[CLAIM_DIGITS + 2];
  const unsigned how = dice(10);
  str_copy(token, sizeof token, how < 6 && x->is->token[0] ? x->is->token : n_issued ? issued[dice(n_issued)] : "");
  if (how == 8 && token[0]) {
    char *digit = &token[dice(CLAIM_DIGITS)];
    *digit = *digit == '0' ? '1' : '0';
  } else if (how == 9) {
    static const char *const none[] = {"", "00", "zz"};
    const unsigned kind = dice(5);
    if (kind < 3)
      str_copy(token, sizeof token, none[kind]);
    else if (token[0])
      str_copy(token + CLAIM_DIGITS - (kind == 3), 2, kind == 3 ? "" : "0"); /* one digit short, one too many */
  }
  return token;
}

/* ---- the steps ---- */

static enum problem do_claim(struct step *x) {
  char token[CLAIM_DIGITS + 1];
  struct life *is = x->is;
  x->expected = model_claim(x);
  const enum problem p = study_claim(x->b->store, x->c, &conf, &x->y, token);
  if (p != P_OK || x->expected != P_OK)
    return p;
  if (is->state == INTERPRETING)
    become(is, is->holder == x->person ? EV_RELEASE : EV_EXPIRE, TO_INTERPRET);
  become(is, EV_CLAIM, INTERPRETING);
  is->holder = x->person;
  is->expires = x->y.claim_expires;
  const int64_t ends = x->at + (int64_t)conf.claim_minutes * MINUTE;
  assert_in_range(is->expires, ends, ends + 1000);
  for (unsigned i = 0; i < n_issued; i++)
    assert_string_not_equal(issued[i], token);
  str_copy(is->token, sizeof is->token, token);
  str_copy(issued[n_issued < TOKENS_MAX ? n_issued++ : dice(TOKENS_MAX)], CLAIM_DIGITS + 1, token);
  return p;
}

static enum problem do_release(struct step *x) {
  const char *token = pick_token(x);
  x->expected = model_end(x, token);
  const enum problem p = study_release(x->b->store, x->c, &x->y, token);
  if (p == P_OK && x->expected == P_OK)
    become(x->is, EV_RELEASE, TO_INTERPRET);
  return p;
}

/* What the reader has before him, or read too long ago. */
static const char *seen(const struct step *x, const json_t *aids, bool stale) {
  static char shown[HASH_TEXT];
  assert_int_equal(interpret_shown(x->b->store, &x->y, aids, shown), P_OK);
  return stale ? "" : shown;
}

static enum problem do_sign(struct step *x, const char *token, bool valid, bool stale) {
  char text[32];
  const char *field = NULL, *shown;
  const struct said *s = say(x->is->act, valid);
  _json_cleanup_ json_t *findings = s->findings ? json_loads(s->findings, 0, NULL) : NULL;
  const struct conclusion conclusion = {.conclusion = s->conclusion, .findings = findings, .text = text};
  _json_cleanup_ json_t *aids = x->is->act == ACQ_SPIROMETRY ? json_pack("{s:i}", "n", 1) : NULL;
  text_of(++texts, text);
  shown = seen(x, aids, stale);
  x->expected = model_end(x, token);
  if (x->expected == P_OK)
    x->expected = !valid ? P_invalid_field : *shown ? P_OK : P_precondition_failed;
  const enum problem p = interpret_sign(x->b->store, x->c, &x->y, token, shown, &conclusion, aids, &field);
  assert_int_equal(p == P_invalid_field, field != NULL);
  if (p == P_OK && x->expected == P_OK) {
    become(x->is, EV_SIGN, INTERPRETED);
    add_version(x, 0, texts);
  }
  return p;
}

static enum problem do_sign_some(struct step *x) {
  return do_sign(x, pick_token(x), !one_in(6), one_in(8));
}

static enum problem do_amend(struct step *x) {
  char text[32];
  const char *field = NULL;
  const bool valid = !one_in(6);
  const struct said *s = say(x->is->act, valid);
  _json_cleanup_ json_t *findings = s->findings ? json_loads(s->findings, 0, NULL) : NULL;
  const struct conclusion conclusion = {.conclusion = s->conclusion, .findings = findings, .text = text};
  const int64_t version = one_in(4) ? 1 + (int64_t)dice(4) : x->is->n_versions;
  text_of(++texts, text);
  x->expected = model_amend(x, valid, version);
  const char *shown = seen(x, NULL, one_in(8));
  if (x->expected == P_OK && !*shown)
    x->expected = P_precondition_failed;
  const enum problem p =
      interpret_amend(x->b->store, x->c, &x->y, version, "relecture", shown, &conclusion, NULL, &field);
  assert_int_equal(p == P_invalid_field, field != NULL);
  if (p == P_OK && x->expected == P_OK) {
    become(x->is, EV_AMEND, INTERPRETED);
    add_version(x, version, texts);
  }
  return p;
}

static enum problem do_return(struct step *x) {
  const char *token = pick_token(x);
  const bool known = !one_in(8);
  int64_t repeat = 0;
  x->expected = known ? model_end(x, token) : P_invalid_field;
  const enum problem p =
      interpret_return(x->b->store, x->c, &x->y, token, known ? interpret_reasons[dice(5)].code : "1", "flou", &repeat);
  if (p == P_OK && x->expected == P_OK) {
    become(x->is, EV_RETURN, RETURNED);
    assert_true(repeat > x->is->id);
    now.life[now.n] = new_life(repeat, x->is->act, x->is->reader);
    now.life[now.n].urgent = x->is->urgent; /* the patient is as ill as before */
    now.life[now.n++].repeats = x->is->id;
  }
  return p;
}

static enum problem do_refer(struct step *x) {
  static const char *const readers[] = {"gp", "ophthalmologist", "nurse", "nobody"};
  const char *token = one_in(3) ? NULL : pick_token(x), *reader = readers[one_in(8) ? dice(4) : dice(2)];
  x->expected = model_refer(x, token, reader);
  const enum problem p = interpret_refer(x->b->store, x->c, &x->y, token, reader, "avis");
  if (p == P_OK && x->expected == P_OK) {
    become(x->is, EV_REFER, TO_INTERPRET);
    x->is->reader = !strcmp(reader, "gp") ? ROLE_GP : ROLE_OPHTHALMOLOGIST;
  }
  return p;
}

static enum problem do_draft(struct step *x) {
  char text[32], json[64];
  int64_t version = 0;
  struct draft *draft = &x->is->drafts[x->person];
  const int64_t if_match = one_in(5) ? (int64_t)dice(5) - 1 : draft->version;
  text_of(++texts, text);
  snprintf(json, sizeof json, "{\"text\":\"%s\"}", text);
  x->expected = model_draft(x, if_match);
  const enum problem p = interpret_draft_save(x->b->store, x->c, &x->y, if_match, json, &version);
  if (p == P_OK && x->expected == P_OK) {
    *draft = (struct draft){.version = draft->version + 1, .text = texts};
    assert_int_equal(version, draft->version);
  }
  return p;
}

static enum problem do_page(struct step *x) {
  int64_t id;
  x->expected = !acquires(x) ? P_forbidden : x->saw.state >= INTERPRETED ? P_wrong_state : P_OK;
  const enum problem p = notice_page(x->b->store, x->c, &x->y, "douleur thoracique", &id);
  if (p == P_OK && x->expected == P_OK) {
    x->is->version++;
    x->is->pages++;
    x->is->urgent = true;
  }
  return p;
}

static enum problem do_cancel(struct step *x) {
  x->expected = model_cancel(x);
  const enum problem p = study_cancel(x->b->store, x->c, &x->y, "motif");
  if (p == P_OK && x->expected == P_OK)
    become(x->is, EV_CANCEL, CANCELLED);
  return p;
}

/* A reading as an acquisition leaves it; of a retinography with what the nurse says of it. */
static void read_instrument(struct step *x, bool doubtful) {
  const struct actor daemon = {.name = "asaleed"};
  const bool fundus = x->is->act == ACQ_FUNDUS;
  const int i = x->is->readings;
  int64_t record;
  size_t at;
  const char *field;
  struct store *s = x->b->store;
  assert_int_equal(store_run(s,
                             "INSERT INTO acquisition(study, device, driver, driver_version, program, node, seconds,"
                             " started, offset_minutes, by, ended, capture) VALUES(?,'d','d','1','1','n',1,1,0,?,2,?)",
                             "itt", x->y.id, x->c->name, capture_sha),
                   1);
  const struct reading reading = {.study = x->y.id,
                                  .acquisition = store_last_id(s),
                                  .sha256 = fundus ? fundus_sha[i] : record_sha[i],
                                  .driver = "d",
                                  .driver_version = "1",
                                  .doubtful = doubtful};
  assert_int_equal(reading_add(s, &reading, fundus ? fundus_record[i] : record_json[i], wall_now().us, &record), 0);
  ok(study_find(s, x->y.id, &x->y));
  ok(study_move(s, &daemon, ROLE_SYSTEM, &x->y, EV_RECORD, NULL));
  become(x->is, EV_RECORD, ACQUIRED);
  x->is->readings++;
  x->is->clean &= !doubtful;
  x->is->standing = true;
  if (fundus) {
    const struct fundus_label label = {.record = record, .number = 1, .laterality = "R", .field = "macula"};
    ok(fundus_label(s, x->c, &x->y, &label, 1, &at, &field));
    ok(fundus_pupil(s, x->c, &x->y, &(struct fundus_pupil){.dilated = false}, &field));
    x->is->version += 2;
  }
}

static enum problem do_acquire(struct step *x) {
  const struct actor by = caller_actor(x->c);
  x->expected = !acquires(x)                                          ? P_forbidden
                : x->saw.state != ORDERED && x->saw.state != ACQUIRED ? P_wrong_state
                                                                      : unless_changed(x);
  const enum problem p = study_move(x->b->store, &by, x->c->role, &x->y, EV_START, NULL);
  if (p == P_OK && x->expected == P_OK) {
    become(x->is, EV_START, ACQUIRING);
    read_instrument(x, one_in(5));
  }
  return p;
}

static void accepted(struct life *is) {
  become(is, EV_ACCEPT, TO_INTERPRET);
  is->called += is->urgent && !is->pages && !is->called;
}

static enum problem do_accept(struct step *x) {
  const bool confirmed = !one_in(3);
  x->expected = model_accept(x, confirmed);
  const enum problem p = study_accept(x->b->store, x->c, &conf, &x->y, confirmed, NULL);
  if (p == P_OK && x->expected == P_OK)
    accepted(x->is);
  return p;
}

static enum problem do_repeat(struct step *x) {
  x->expected = !acquires(x) ? P_forbidden : x->saw.state != ACQUIRED ? P_wrong_state : unless_changed(x);
  const enum problem p = study_repeat(x->b->store, x->c, &x->y, "bougé");
  if (p == P_OK && x->expected == P_OK) {
    become(x->is, EV_REPEAT, ORDERED);
    x->is->standing = false;
    x->is->clean = true;
  }
  return p;
}

#define IN(state) (1u << (state))
static const struct operation {
  const char *name;
  enum problem (*run)(struct step *x);
  unsigned weight, fits; /* fits: the states in which it is likely to be done */
  bool by_sight;         /* also with what the caller saw some time ago */
} operations[] = {
    {"claim", do_claim, 20, IN(TO_INTERPRET), true},
    {"release", do_release, 5, IN(INTERPRETING), true},
    {"sign", do_sign_some, 20, IN(INTERPRETING), true},
    {"amend", do_amend, 10, IN(INTERPRETED), true},
    {"return", do_return, 5, IN(INTERPRETING), true},
    {"refer", do_refer, 6, IN(INTERPRETING) | IN(TO_INTERPRET), true},
    {"draft", do_draft, 16, IN(TO_INTERPRET) | IN(INTERPRETING) | IN(INTERPRETED), false},
    {"page", do_page, 3, IN(ORDERED) | IN(ACQUIRED) | IN(TO_INTERPRET) | IN(INTERPRETING), false},
    {"cancel", do_cancel, 2, IN(ORDERED) | IN(ACQUIRED) | IN(TO_INTERPRET), true},
    {"acquire", do_acquire, 8, IN(ORDERED), true},
    {"accept", do_accept, 8, IN(ACQUIRED), true},
    {"repeat", do_repeat, 2, IN(ACQUIRED), true},
};
#define OPERATIONS (sizeof operations / sizeof *operations)

/* ---- what happened ---- */

static unsigned tally[OPERATIONS][P_LAST], undone, lost_turns, restarts, expiries, jumps, steps, by_old_sight;
static char trace[STEPS_MIN + STEPS_MORE + 4 * STUDIES_MAX][160];
static unsigned n_trace, sequence;

static char *trace_line(void) {
  static char rest[sizeof trace[0]];
  return n_trace < sizeof trace / sizeof *trace ? trace[n_trace++] : rest;
}

static void broken(const char *what) {
  for (unsigned i = 0; i < n_trace; i++)
    print_message("%s\n", trace[i]);
  fail_msg("%s (seed %llu, sequence %u)", what, (unsigned long long)seed, sequence);
}

/* The row is what the model says. */
static void check_row(const struct study *y, const struct life *is) {
  const char *holder = is->holder < 0 ? "" : people[is->holder].name;
  if (y->state != is->state || y->version != is->version || y->reader != is->reader ||
      y->claim_expires != is->expires || strcmp(y->claim_by, holder) || y->repeats != is->repeats ||
      (y->urgent != 0) != is->urgent || y->clean != (is->standing ? is->clean : -1)) {
    char what[320];
    snprintf(what, sizeof what,
             "S-%lld is %s, version %lld, claimed by '%s' until %lld, for %s, urgent %d, clean %d; expected %s, version"
             " %lld, '%s' until %lld, for %s, urgent %d, clean %d",
             (long long)y->id, study_state_name(y->state), (long long)y->version, y->claim_by,
             (long long)y->claim_expires, role_name(y->reader), y->urgent != 0, y->clean, study_state_name(is->state),
             (long long)is->version, holder, (long long)is->expires, role_name(is->reader), is->urgent,
             is->standing ? is->clean : -1);
    broken(what);
  }
}

/* ---- turns ---- */

static void forget_sights(void) {
  memset(sights, 0, sizeof sights);
}

static void commit(struct store_bed *b) {
  if (store_commit(b->store) < 0)
    broken("not committed");
  kept = now;
}

/* A commit that the disk refuses: nothing since the last one has happened, and nobody was told. */
static void lose_turn(struct store_bed *b) {
  struct rlimit before, none;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  none = before;
  none.rlim_cur = 0;
  quiet(true);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  const int r = store_commit(b->store);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  quiet(false);
  if (r == 0) { /* there was nothing to write */
    kept = now;
    return;
  }
  now = kept;
  forget_sights();
  lost_turns++;
  snprintf(trace_line(), sizeof trace[0], "the turn is lost");
}

static void restart(struct store_bed *b) {
  bed_down(b); /* commits */
  bed_up(b);
  kept = now;
  restarts++;
  snprintf(trace_line(), sizeof trace[0], "restart");
}

/* ---- one step ---- */

static void finish(struct step *x, const char *name, enum problem got, const struct world *before, bool may_undo) {
  char what[200];
  snprintf(trace_line(), sizeof trace[0], "%s: %s for S-%lld (%s, version %lld): %s", name, x->c->name,
           (long long)x->saw.id, study_state_name(x->saw.state), (long long)x->saw.version, problem_code(got));
  if (got != x->expected) {
    snprintf(what, sizeof what, "%s by %s: %s, expected %s", name, x->c->name, problem_code(got),
             problem_code(x->expected));
    broken(what);
  }
  steps++;
  if (got == P_OK)
    check_row(&x->y, x->is);
  if (got == P_OK && !(may_undo && one_in(12))) {
    assert_int_equal(store_keep(x->b->store), 0);
    return;
  }
  /* Refused, or its answer never left: nothing of it stays. */
  store_undo(x->b->store);
  now = *before;
  if (got == P_OK) {
    undone++;
    snprintf(trace_line(), sizeof trace[0], "undone");
  }
}

static void look(struct step *x, struct store_bed *b, size_t who, unsigned k) {
  *x = (struct step){.b = b, .c = &callers[who], .person = people[who].person, .is = &now.life[k], .at = clock_us};
  ok(study_find(b->store, x->is->id, &x->y));
  check_row(&x->y, x->is);
  x->saw = *x->is;
}

/* Mostly whoever may do something with the study. */
static size_t pick_caller(const struct life *is) {
  if (one_in(3))
    return dice(PEOPLE);
  if (is->state == INTERPRETING && !one_in(4))
    return is->holder == 0 && one_in(3) ? (size_t)LOGICIEL : (size_t)is->holder;
  if (is->state == ORDERED || is->state == ACQUIRED)
    return INES;
  return is->reader == ROLE_GP ? dice(GPS) : GPS + dice(READERS - GPS);
}

static size_t pick_operation(enum study_state state) {
  const unsigned states = one_in(2) || state >= RETURNED ? ~0u : IN(state);
  unsigned all = 0;
  for (size_t i = 0; i < OPERATIONS; i++)
    all += operations[i].fits & states ? operations[i].weight : 0;
  unsigned at = dice(all);
  for (size_t i = 0;; i++) {
    const unsigned weight = operations[i].fits & states ? operations[i].weight : 0;
    if (at < weight)
      return i;
    at -= weight;
  }
}

/* False for what is not to be done: a draft by who does not read, which no route takes, and what has no room here. */
static bool step_once(struct store_bed *b) {
  const unsigned k = dice(now.n);
  const size_t who = pick_caller(&now.life[k]), op = pick_operation(now.life[k].state);
  const struct operation *o = &operations[op];
  struct step x;
  look(&x, b, who, k);
  if ((o->run == do_draft && !reads(&x)) || (o->run == do_return && now.n == STUDIES_MAX) ||
      (o->run == do_acquire && x.is->readings == READINGS))
    return false;
  struct sight *sight = &sights[who][k];
  if (o->by_sight && sight->has && one_in(5)) {
    by_old_sight += sight->life.version != x.is->version;
    x.y = sight->study;
    x.saw = sight->life;
  } else
    *sight = (struct sight){.has = true, .study = x.y, .life = x.saw};
  const struct world before = now;
  bed_begin(b);
  const enum problem got = o->run(&x);
  tally[op][got]++;
  finish(&x, o->name, got, &before, true);
  return true;
}

/* ---- the clock ---- */

static int64_t given_back[STUDIES_MAX];
static unsigned n_given_back;
static void on_expired(void *arg, int64_t study) {
  (void)arg;
  assert_true(n_given_back < STUDIES_MAX);
  given_back[n_given_back++] = study;
}

static void expire(struct store_bed *b, int64_t at) {
  int64_t next = 0;
  unsigned n = 0;
  n_given_back = 0;
  const int64_t got = worklist_expire(b->store, at, on_expired, NULL);
  for (unsigned k = 0; k < now.n; k++) {
    struct life *is = &now.life[k];
    if (is->expires && is->expires <= at) {
      bool told = false;
      for (unsigned i = 0; i < n_given_back; i++)
        told |= given_back[i] == is->id;
      if (!told)
        broken("a claim that ran out was not given back");
      become(is, EV_EXPIRE, TO_INTERPRET);
      n++;
    } else if (is->expires && (!next || is->expires < next))
      next = is->expires;
  }
  snprintf(trace_line(), sizeof trace[0], "expire: %u claims", n);
  if (n != n_given_back || got != next)
    broken("other claims were given back than those that ran out");
  expiries += n;
  steps++;
}

/* Now; or to the microsecond when the claim of some study ends, or just before. */
static void expire_some(struct store_bed *b) {
  const int64_t ends = now.life[dice(now.n)].expires;
  expire(b, ends && one_in(2) ? ends - (int64_t)dice(2) : clock_us);
}

static void jump(void) {
  static const int minutes[] = {1,  29,  31,  31,  31,       60,           24 * 60, 90 * 24 * 60,
                                -1, -10, -31, -60, -24 * 60, -90 * 24 * 60};
  const int by = minutes[dice(sizeof minutes / sizeof *minutes)];
  clock_us += by * MINUTE;
  jumps++;
  snprintf(trace_line(), sizeof trace[0], "the clock jumps by %d minutes", by);
}

/* ---- a sequence ---- */

static void order_one(struct store_bed *b) {
  static const enum acq_modality acts[] = {ACQ_ECG, ACQ_ECG, ACQ_ECG, ACQ_SPIROMETRY, ACQ_FUNDUS, ACQ_MEASUREMENT};
  const enum acq_modality act = acts[dice(6)];
  int64_t order, id;
  bed_begin(b);
  ok(worklist_order(b->store, &conf, &callers[INES], patients[dice(GPS)], acq_modality_name(act), 0, &order, &id));
  now.life[now.n] = new_life(id, act, act == ACQ_FUNDUS ? ROLE_OPHTHALMOLOGIST : ROLE_GP);
  now.n++;
  assert_int_equal(store_keep(b->store), 0);
  if (one_in(8))
    return;
  for (int i = 0; i < 2; i++) {
    struct step x;
    const struct world before = now;
    look(&x, b, INES, now.n - 1);
    bed_begin(b);
    if (i == 0) {
      const enum problem got = do_acquire(&x);
      finish(&x, "acquire", got, &before, false);
    } else {
      x.expected = model_accept(&x, true);
      const enum problem got = study_accept(b->store, x.c, &conf, &x.y, true, NULL);
      accepted(x.is);
      finish(&x, "accept", got, &before, false);
    }
  }
}

/* Whatever came before, what waits in the queue can be read and signed by whom it is for. */
static void sign_the_rest(struct store_bed *b) {
  for (unsigned k = 0; k < now.n; k++) {
    struct step x;
    if (now.life[k].state != TO_INTERPRET)
      continue;
    const size_t who = now.life[k].reader == ROLE_GP ? dice(GPS) : GPS + dice(READERS - GPS);
    for (int i = 0; i < 2; i++) {
      const struct world before = now;
      look(&x, b, who, k);
      bed_begin(b);
      const enum problem got = i == 0 ? do_claim(&x) : do_sign(&x, x.is->token, true, false);
      if (x.expected != P_OK)
        broken("what waits in the queue cannot be signed");
      finish(&x, i == 0 ? "claim" : "sign", got, &before, false);
    }
  }
}

/* ---- what must hold after a sequence ---- */

static unsigned signatures, drafts_left, outcomes[STATES], proofs, followed;

static void check_versions(struct store_bed *b, const struct life *is) {
  int n = 0;
  struct rows r = store_query(b->store,
                              "SELECT version, by, text, json_extract(statement, '$.amends'), signature IS NOT NULL"
                              " FROM interpretation WHERE study = ? ORDER BY version",
                              "i", is->id);
  for (; rows_next(&r); n++) {
    const struct version *v = &is->versions[n];
    char text[32];
    text_of(v->text, text);
    if (n == is->n_versions || rows_int(&r, 0) != n + 1 || strcmp(rows_text(&r, 1), people[v->by].name) ||
        strcmp(rows_text(&r, 2), text) || rows_int(&r, 3) != v->amends || !rows_int(&r, 4))
      broken("a version is not as it was signed");
  }
  assert_int_equal(rows_finish(&r), 0);
  if (n != is->n_versions)
    broken("a version is lost");
  signatures += (unsigned)n;
}

/* Each draft that was taken and not signed by who wrote it is there, as it was last taken. */
static void check_drafts(struct store_bed *b, const struct study *y, const struct life *is) {
  for (int i = 0; i < READERS; i++) {
    _json_cleanup_ json_t *draft = NULL;
    int64_t version = 0;
    char text[32];
    const enum problem p = interpret_draft(b->store, &callers[i], y, &draft, &version);
    text_of(is->drafts[i].text, text);
    if (is->drafts[i].version ? p != P_OK || version != is->drafts[i].version || strcmp(json_text(draft, "text"), text)
                              : p != P_not_found)
      broken("a draft is lost, or one is there that was signed");
    drafts_left += p == P_OK;
  }
}

/* The trail tells each event that happened, and none that was undone or refused. */
static void check_trail(struct store_bed *b, const struct life *is) {
  char ref[STR_REF_MAX];
  unsigned events[EVENTS] = {0}, pages = 0;
  str_ref('S', is->id, ref);
  struct rows r =
      store_query(b->store, "SELECT action, count(*) FROM audit WHERE subject = ? GROUP BY action", "t", ref);
  while (rows_next(&r)) {
    const char *name = strchr(rows_text(&r, 0), '.');
    for (int e = 0; name && e < EVENTS; e++)
      if (!strcmp(name + 1, study_event_name((enum study_event)e)))
        events[e] = (unsigned)rows_int(&r, 1);
    if (name && !strcmp(name, ".page"))
      pages = (unsigned)rows_int(&r, 1);
  }
  assert_int_equal(rows_finish(&r), 0);
  if (memcmp(events, is->events, sizeof events) || pages != (unsigned)is->pages)
    broken("the trail tells of other events than there were");
  if (events[EV_SIGN] > 1 || (int)(events[EV_SIGN] + events[EV_AMEND]) != is->n_versions)
    broken("a version without its signature, or with two");
}

/* At most one end: interpreted, returned (and then repeated, once), or cancelled. */
static void check_outcome(struct store_bed *b, const struct life *is) {
  struct rows r = store_query(b->store,
                              "SELECT (SELECT count(*) FROM study_return WHERE study = ?1), (SELECT count(*) FROM study"
                              " WHERE repeats = ?1), (SELECT count(*) FROM notice WHERE study = ?1 AND kind = 'page'),"
                              " (SELECT count(*) FROM notice WHERE study = ?1 AND kind = 'returned'), (SELECT count(*)"
                              " FROM study WHERE id = ?1 AND (claim IS NOT NULL OR claim_by IS NOT NULL))",
                              "i", is->id);
  assert_true(rows_next(&r));
  const bool returned = is->state == RETURNED;
  if (rows_int(&r, 0) != returned || rows_int(&r, 1) != returned || rows_int(&r, 2) != is->pages + is->called ||
      rows_int(&r, 3) != returned || rows_int(&r, 4) != 0 || (is->n_versions > 0) != (is->state == INTERPRETED))
    broken("a study has not one outcome");
  assert_int_equal(rows_finish(&r), 0);
  outcomes[is->state]++;
}

static void check_proof(struct store_bed *b, const struct study *y, const struct life *is) {
  struct proof_check c = {0};
  json_t *proof = NULL;
  ok(interpret_proof(b->store, b->artefacts, y, &proof));
  const int r = proof_verify(proof, store_site_key(b->store)->public, &c);
  json_decref(proof);
  if (r < 0 || c.n != (size_t)is->n_versions) {
    char what[128];
    snprintf(what, sizeof what, "the proof of S-%lld: %s at version %lld", (long long)y->id, proof_fault_code(c.fault),
             (long long)c.version);
    broken(what);
  }
  proofs++;
}

static void examine(struct store_bed *b) {
  for (unsigned k = 0; k < now.n; k++) {
    const struct life *is = &now.life[k];
    struct study y;
    ok(study_find(b->store, is->id, &y));
    check_row(&y, is);
    check_versions(b, is);
    check_drafts(b, &y, is);
    check_trail(b, is);
    check_outcome(b, is);
    if (is->n_versions && one_in(8))
      check_proof(b, &y, is);
    followed++;
  }
}

static void run_sequence(struct store_bed *b, unsigned number) {
  sequence = number;
  dice_state = seed * UINT64_C(0xd1342543de82ef95) + number;
  n_trace = n_issued = 0;
  now.n = 0;
  memset(sights, 0, sizeof sights);
  const unsigned studies = 1 + dice(2), n = STEPS_MIN + dice(STEPS_MORE);
  for (unsigned i = 0; i < studies; i++)
    order_one(b);
  commit(b);
  for (unsigned i = 0; i < n;) {
    const unsigned what = dice(100);
    if (what < 5)
      expire_some(b);
    else if (what < 11)
      jump();
    else if (!step_once(b))
      continue;
    i++;
    if (one_in(6))
      commit(b);
    else if (one_in(100))
      lose_turn(b);
    else if (one_in(400))
      restart(b);
  }
  for (unsigned k = 0; k < now.n; k++) /* wherever the clock went: the end of every claim comes */
    clock_us = now.life[k].expires > clock_us ? now.life[k].expires : clock_us;
  expire(b, clock_us);
  if (one_in(3))
    sign_the_rest(b);
  clock_us = START + (int64_t)number * MINUTE;
  commit(b);
  examine(b);
}

/* ---- what must hold in a store ---- */

static void check_signature(const struct rows *r) {
  size_t n_key, n_signature, n_text;
  char hash[HASH_TEXT], ref[STR_REF_MAX];
  const void *key = rows_blob(r, 4, &n_key), *signature = rows_blob(r, 5, &n_signature);
  const char *text = rows_text(r, 2), *statement = rows_blob(r, 3, &n_text);
  assert_int_equal(n_key, SIGNATURE_PUBLIC);
  assert_int_equal(n_signature, SIGNATURE_BYTES);
  assert_true(signature_holds(key, statement, n_text, signature));
  _json_cleanup_ json_t *x = json_loadb(statement, n_text, 0, NULL);
  hash_sha256_text(text, strlen(text), hash);
  str_ref('S', rows_int(r, 0), ref);
  assert_string_equal(json_text(x, "study"), ref);
  assert_int_equal(json_integer_value(json_object_get(x, "version")), rows_int(r, 1));
  assert_string_equal(json_text(x, "text_sha256"), hash);
  assert_string_equal(json_text(json_object_get(x, "signer"), "rpps"), rows_text(r, 6));
}

static void check_store(struct store_bed *b) {
  struct audit_check audit;
  struct store_check store;
  unsigned n = 0;
  struct rows r = store_query(b->store,
                              "SELECT i.study, i.version, i.text, i.statement, i.key, i.signature, u.rpps FROM"
                              " interpretation i JOIN user u ON u.name = i.by",
                              "");
  for (; rows_next(&r); n++)
    check_signature(&r);
  assert_int_equal(rows_finish(&r), 0);
  assert_int_equal(n, signatures);
  assert_int_equal(bed_int(b, "SELECT count(DISTINCT signature) FROM interpretation"), n);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM (SELECT 1 FROM interpretation GROUP BY study HAVING min(version)"
                              " <> 1 OR max(version) <> count(*) OR count(DISTINCT version) <> count(*))"),
                   0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM draft"), drafts_left);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study"), followed);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM study WHERE claim IS NOT NULL OR state = 'interpreting'"), 0);
  assert_int_equal(bed_int(b, "SELECT count(*) FROM signing_key"),
                   bed_int(b, "SELECT count(DISTINCT key) FROM interpretation"));
  assert_int_equal(audit_verify(b->store, b->artefacts, &audit), 0);
  assert_true(audit.ok);
  assert_int_equal(store_verify(b->store, &store), 0);
  if (!store.ok)
    fail_msg("table \"%s\" is not as it was sealed (seed %llu)", store.table, (unsigned long long)seed);
}

/* That each way through was taken: a test that meets nothing shows nothing. */
static void check_met(void) {
  static const struct {
    const char *operation;
    enum problem problem;
    unsigned least;
  } met[] = {
      {"claim", P_OK, 10000},
      {"claim", P_already_claimed, 500},
      {"claim", P_wrong_reader, 500},
      {"claim", P_forbidden, 500},
      {"claim", P_wrong_state, 500},
      {"claim", P_precondition_failed, 500},
      {"release", P_OK, 500},
      {"release", P_stale_token, 500},
      {"sign", P_OK, 3000},
      {"sign", P_stale_token, 3000},
      {"sign", P_wrong_reader, 500},
      {"sign", P_forbidden, 500},
      {"sign", P_invalid_field, 500},
      {"sign", P_precondition_failed, 20},
      {"amend", P_OK, 1000},
      {"amend", P_precondition_failed, 300},
      {"amend", P_invalid_field, 300},
      {"amend", P_wrong_reader, 100},
      {"return", P_OK, 500},
      {"return", P_stale_token, 500},
      {"return", P_invalid_field, 300},
      {"refer", P_OK, 500},
      {"refer", P_stale_token, 300},
      {"refer", P_forbidden, 100},
      {"refer", P_invalid_field, 500},
      {"draft", P_OK, 5000},
      {"draft", P_precondition_failed, 500},
      {"draft", P_precondition_required, 100},
      {"draft", P_wrong_state, 100},
      {"page", P_OK, 500},
      {"page", P_wrong_state, 100},
      {"cancel", P_OK, 200},
      {"cancel", P_wrong_state, 200},
      {"acquire", P_OK, 500},
      {"accept", P_OK, 500},
      {"accept", P_confirmation_needed, 50},
      {"repeat", P_OK, 20},
  };
  for (size_t i = 0; i < sizeof met / sizeof *met; i++)
    for (size_t k = 0; k < OPERATIONS; k++)
      if (!strcmp(operations[k].name, met[i].operation) && tally[k][met[i].problem] < met[i].least)
        fail_msg("%s: %s only %u times", met[i].operation, problem_code(met[i].problem), tally[k][met[i].problem]);
  assert_true(undone > 1000 && lost_turns > 100 && restarts > 50 && expiries > 500 && by_old_sight > 1000);
  assert_true(outcomes[INTERPRETED] > 1000 && outcomes[RETURNED] > 500 && outcomes[CANCELLED] > 200);
}

static void test_interleavings(void **state) {
  (void)state;
  unsigned all_signatures = 0, all_drafts = 0, accepted = 0, refused = 0;
  for (unsigned i = 0; i < STORES; i++) {
    void *bed = NULL;
    assert_int_equal(bed_setup(&bed), 0);
    practice(bed);
    signatures = drafts_left = followed = 0;
    for (unsigned k = 0; k < SEQUENCES; k++)
      run_sequence(bed, i * SEQUENCES + k);
    check_store(bed);
    all_signatures += signatures;
    all_drafts += drafts_left;
    bed_teardown(&bed);
  }
  for (size_t i = 0; i < OPERATIONS; i++)
    for (int p = 0; p < P_LAST; p++)
      if (p == P_OK)
        accepted += tally[i][p];
      else
        refused += tally[i][p];
  print_message("# seed %llu: %u sequences in %u stores, %u steps (%u taken, %u refused, %u undone, %u of what was seen"
                " before), %u expiries, %u clock jumps, %u restarts, %u lost turns: as the model says\n",
                (unsigned long long)seed, STORES * SEQUENCES, STORES, steps, accepted, refused, undone, by_old_sight,
                expiries, jumps, restarts, lost_turns);
  print_message("# %u signatures hold, one a version (%u proofs verified whole), %u drafts kept; ends: %u interpreted,"
                " %u returned, %u cancelled\n",
                all_signatures, proofs, all_drafts, outcomes[INTERPRETED], outcomes[RETURNED], outcomes[CANCELLED]);
  check_met();
}

/* ---- one byte ---- */

#define BYTES 200

/* The database as it lies there, put back after each change. */
struct copy {
  uint8_t *bytes;
  size_t n;
};

static struct copy copy_take(struct store_bed *b) {
  struct stat st;
  const int fd = open(bed_path(b, "asaleed.db"), O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0 && fstat(fd, &st) == 0);
  struct copy c = {.bytes = malloc((size_t)st.st_size), .n = (size_t)st.st_size};
  assert_non_null(c.bytes);
  assert_int_equal(read(fd, c.bytes, c.n), c.n);
  close(fd);
  return c;
}

static void copy_put(struct store_bed *b, const struct copy *c) {
  const int fd = open(bed_path(b, "asaleed.db"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(fd_write_all(fd, c->bytes, c->n), 0);
  close(fd);
  unlink(bed_path(b, "asaleed.db-wal"));
  unlink(bed_path(b, "asaleed.db-shm"));
}

/* Whether the store says so when it is opened, or when it is verified: then *ret_check tells where. */
static bool is_noticed(struct store_bed *b, struct store_check *ret_check) {
  *ret_check = (struct store_check){0};
  struct store *s;
  if (store_open(b->dir, &s) < 0)
    return true;
  const bool noticed = store_verify(s, ret_check) < 0 || !ret_check->ok;
  store_close(s);
  return noticed;
}

/* A hash of all that the database says: its version, its schema, every row of every table. False when it cannot be
 * read. */
static bool dump(struct store_bed *b, char ret[static HASH_TEXT]) {
  sqlite3 *db = NULL;
  sqlite3_stmt *names = NULL;
  struct hash_stream h;
  hash_start(&h);
  int code = sqlite3_open_v2(bed_path(b, "asaleed.db"), &db, SQLITE_OPEN_READONLY, NULL);
  if (code == SQLITE_OK)
    code = sqlite3_prepare_v2(db,
                              "SELECT 'SELECT * FROM \"' || name || '\" NOT INDEXED' FROM sqlite_schema WHERE type = "
                              "'table' UNION ALL SELECT 'PRAGMA user_version' UNION ALL SELECT 'SELECT type, name, "
                              "tbl_name, sql FROM sqlite_schema'",
                              -1, &names, NULL);
  while (code == SQLITE_OK && (code = sqlite3_step(names)) == SQLITE_ROW) {
    sqlite3_stmt *st = NULL;
    code = sqlite3_prepare_v2(db, (const char *)sqlite3_column_text(names, 0), -1, &st, NULL);
    while (code == SQLITE_OK && (code = sqlite3_step(st)) == SQLITE_ROW) {
      for (int i = 0; i < sqlite3_column_count(st); i++) {
        const int head[] = {sqlite3_column_type(st, i), sqlite3_column_bytes(st, i)};
        hash_add(&h, head, sizeof head);
        hash_add(&h, sqlite3_column_text(st, i), (size_t)sqlite3_column_bytes(st, i));
      }
      code = SQLITE_OK;
    }
    sqlite3_finalize(st);
    code = code == SQLITE_DONE ? SQLITE_OK : code;
  }
  sqlite3_finalize(names);
  sqlite3_close(db);
  hash_text(&h, ret);
  return code == SQLITE_DONE;
}

/* What a row is found by: the columns of the table's key. */
struct columns {
  char names[32][64];
  bool key[32];
  unsigned n;
};

static struct columns columns_of(sqlite3 *db, const char *table) {
  struct columns c = {0};
  sqlite3_stmt *st;
  assert_int_equal(sqlite3_prepare_v2(db, "SELECT name, pk FROM pragma_table_info(?)", -1, &st, NULL), SQLITE_OK);
  sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC);
  while (sqlite3_step(st) == SQLITE_ROW) {
    assert_true(c.n < 32 && str_copy(c.names[c.n], 64, (const char *)sqlite3_column_text(st, 0)));
    c.key[c.n++] = sqlite3_column_int(st, 1) > 0;
  }
  sqlite3_finalize(st);
  assert_true(c.n > 0);
  return c;
}

static sqlite3_stmt *prepared(sqlite3 *db, struct buf *sql) {
  sqlite3_stmt *st = NULL;
  if (sqlite3_prepare_v2(db, buf_cstr(sql), -1, &st, NULL) != SQLITE_OK)
    fail_msg("%s: %s", buf_cstr(sql), sqlite3_errmsg(db));
  buf_finish(sql);
  return st;
}

/* One byte of the value in the first column of `row`, as the first parameter of `update`. */
static void bind_changed(sqlite3_stmt *update, sqlite3_stmt *row, bool is_key) {
  if (sqlite3_column_type(row, 0) == SQLITE_INTEGER) {
    sqlite3_bind_int64(update, 1, sqlite3_column_int64(row, 0) ^ (INT64_C(1) << (is_key ? 40 : dice(48))));
    return;
  }
  const int n = sqlite3_column_bytes(row, 0);
  const bool is_text = sqlite3_column_type(row, 0) == SQLITE_TEXT;
  _free_cleanup_ uint8_t *bytes = malloc((size_t)n);
  assert_non_null(bytes);
  memcpy(bytes, sqlite3_column_blob(row, 0), (size_t)n);
  bytes[dice((unsigned)n)] ^= (uint8_t)(1u << dice(8));
  if (is_text)
    sqlite3_bind_text(update, 1, (const char *)bytes, n, SQLITE_TRANSIENT);
  else
    sqlite3_bind_blob(update, 1, bytes, n, SQLITE_TRANSIENT);
}

/* Changes one byte of some value of this type in some row; false when the column has none. */
static bool change_value(sqlite3 *db, const char *table, const struct columns *c, unsigned column, const char *type) {
  struct buf sql = BUF_INIT(8192);
  const char *name = c->names[column];
  buf_format(&sql, "SELECT count(*) FROM \"%s\" WHERE typeof(\"%s\") = '%s' AND length(\"%s\") > 0", table, name, type,
             name);
  sqlite3_stmt *st = prepared(db, &sql);
  assert_int_equal(sqlite3_step(st), SQLITE_ROW);
  const unsigned rows = (unsigned)sqlite3_column_int(st, 0);
  sqlite3_finalize(st);
  if (!rows)
    return false;
  struct buf select = BUF_INIT(8192), update = BUF_INIT(8192);
  buf_format(&select, "SELECT \"%s\"", name);
  buf_format(&update, "UPDATE \"%s\" SET \"%s\" = ?", table, name);
  int keys = 0;
  for (unsigned i = 0; i < c->n; i++)
    if (c->key[i]) {
      buf_format(&select, ", \"%s\"", c->names[i]);
      buf_format(&update, "%s \"%s\" IS ?", keys++ ? " AND" : " WHERE", c->names[i]);
    }
  buf_format(&select, " FROM \"%s\" WHERE typeof(\"%s\") = '%s' AND length(\"%s\") > 0 LIMIT 1 OFFSET %u", table, name,
             type, name, dice(rows));
  sqlite3_stmt *row = prepared(db, &select), *change = prepared(db, &update);
  assert_true(keys > 0);
  assert_int_equal(sqlite3_step(row), SQLITE_ROW);
  bind_changed(change, row, c->key[column]);
  for (int i = 1; i <= keys; i++)
    sqlite3_bind_value(change, i + 1, sqlite3_column_value(row, i));
  sqlite3_reset(row);
  if (sqlite3_step(change) != SQLITE_DONE || sqlite3_changes(db) != 1)
    fail_msg("%s.%s: %s", table, name, sqlite3_errmsg(db));
  sqlite3_finalize(row);
  sqlite3_finalize(change);
  return true;
}

/* As somebody does who has the file, and for whom no trigger and no constraint is in the way. */
static sqlite3 *raw_open(struct store_bed *b) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(bed_path(b, "asaleed.db"), &db), SQLITE_OK);
  sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
  raw_exec(db, "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF");
  return db;
}

/* Of each table a value of each type that it has: what was changed is found, and where. */
static unsigned change_values(struct store_bed *b, const struct copy *whole, const char *table) {
  static const char *const types[] = {"integer", "text", "blob"};
  unsigned changed = 0;
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    struct store_check c;
    sqlite3 *db = raw_open(b);
    const struct columns columns = columns_of(db, table);
    const unsigned first = dice(columns.n);
    bool done = false;
    unsigned column = 0;
    for (unsigned i = 0; i < columns.n && !done; i++) {
      column = (first + i) % columns.n;
      done = change_value(db, table, &columns, column, types[t]);
    }
    sqlite3_close(db);
    if (!done)
      continue;
    changed++;
    if (!is_noticed(b, &c))
      fail_msg("%s.%s: a changed %s is not noticed (seed %llu)", table, columns.names[column], types[t],
               (unsigned long long)seed);
    if (c.table[0]) /* the store could be opened */
      assert_string_equal(c.table, table);
    copy_put(b, whole);
  }
  return changed;
}

static unsigned big_endian(const uint8_t *bytes) {
  return (unsigned)bytes[0] << 8 | bytes[1];
}

/* Where a byte of a row lies, of a table or an index; in a page of another kind, anywhere. The format:
 * https://www.sqlite.org/fileformat2.html#b_tree_pages */
static size_t pick_place(const struct copy *c) {
  const unsigned size = big_endian(c->bytes + 16);
  const size_t page = dice((unsigned)(c->n / size));
  const uint8_t *start = c->bytes + page * size, *head = start + (page == 0 ? 100 : 0);
  const unsigned cells = big_endian(head + 3);
  if ((*head != 0x0d && *head != 0x0a) || !cells)
    return page * size + dice(size);
  const unsigned at = big_endian(head + 8 + 2 * dice(cells));
  assert_true(at < size);
  uint64_t payload = 0;
  for (unsigned i = at; i < size; i++) {
    payload = payload << 7 | (start[i] & 0x7f);
    if (!(start[i] & 0x80))
      break;
  }
  return page * size + at + dice(payload + 2 < size - at ? (unsigned)payload + 2 : size - at);
}

/* Bytes of the file itself: each change is noticed, or it changes nothing of what the database says. */
static void change_bytes(struct store_bed *b, struct copy *whole, unsigned *ret_found) {
  char before[HASH_TEXT], after[HASH_TEXT];
  struct store_check c;
  unsigned found = 0;
  assert_true(dump(b, before));
  for (unsigned i = 0; i < BYTES; i++) {
    const size_t at = i % 4 ? pick_place(whole) : dice((unsigned)whole->n);
    const uint8_t was = whole->bytes[at];
    whole->bytes[at] ^= (uint8_t)(1u << dice(8));
    copy_put(b, whole);
    whole->bytes[at] = was;
    if (is_noticed(b, &c))
      found++;
    else if (!dump(b, after) || strcmp(before, after))
      fail_msg("byte %zu of the file is not noticed (seed %llu)", at, (unsigned long long)seed);
  }
  copy_put(b, whole);
  *ret_found = found;
}

static void test_one_byte(void **state) {
  struct store_bed *b = *state;
  struct store_check c;
  unsigned values = 0, found = 0;
  practice(b);
  signatures = drafts_left = followed = 0;
  for (unsigned k = 0; k < 40; k++)
    run_sequence(b, k);
  check_store(b);
  /* A row for the tables that no reader writes to; the others have theirs. */
  bed_begin(b);
  for (size_t i = 0; i < TABLES; i++)
    if (tables[i].insert)
      store_run(b->store, tables[i].insert, "");
  bed_keep(b);
  bed_down(b);
  struct copy whole = copy_take(b);
  assert_false(is_noticed(b, &c));
  quiet(true);
  for (size_t i = 0; i < TABLES; i++) {
    const unsigned n = change_values(b, &whole, tables[i].table);
    assert_true(n > 0);
    values += n;
  }
  values += change_values(b, &whole, "seal");
  change_bytes(b, &whole, &found);
  quiet(false);
  assert_false(is_noticed(b, &c));
  free(whole.bytes);
  bed_up(b);
  assert_true(found > BYTES / 3);
  print_message("# one byte of a value: %u in %zu tables, all found; one of %u bytes of the file's %zu KB: %u found, %u"
                " change nothing that it says\n",
                values, TABLES + 1, BYTES, whole.n / 1024, found, BYTES - found);
}

int main(int argc, char **argv) {
  if (argc > 1 && str_to_u64(argv[1], 0, UINT64_MAX, &seed) < 0)
    return 2;
  signal(SIGXFSZ, SIG_IGN);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_interleavings),
                                     cmocka_unit_test_setup_teardown(test_one_byte, bed_setup, bed_teardown)};
  return cmocka_run_group_tests_name("readers", tests, NULL, NULL);
}
