/* What is made from the table of commands (command_table.c): the parsing of a command line, --help, completion. */
#include "ctl.h"

#include "hash.h"
#include "identifier.h"
#include "str.h"
#include "wall.h"
#include <string.h>
#include <unistd.h>

/* ---- messages ----------------------------------------------------------------------------------------------- */

static void say(struct ctl *c, const char *format, va_list ap) {
  char text[4096];
  vsnprintf(text, sizeof text, format, ap);
  fputs("asaleectl: ", c->err);
  print_text(c->err, text);
  fputc('\n', c->err);
}

void ctl_say(struct ctl *c, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  say(c, format, ap);
  va_end(ap);
}

int ctl_usage(struct ctl *c, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  say(c, format, ap);
  va_end(ap);
  return CTL_USAGE;
}

/* ---- help --------------------------------------------------------------------------------------------------- */

int ctl_synopsis(struct buf *b, const struct ctl_command *command) {
  buf_text(b, command->path);
  for (const struct ctl_argument *a = command->args; a->metavar; a++) {
    const bool opens = a->optional && !(a > command->args && a[-1].optional);
    buf_format(b,
               a->kind == KIND_WORDS || a->kind == KIND_FINDINGS ? " [%s...]"
               : a->kind == KIND_FILES                           ? " %s..."
               : opens                                           ? " [%s"
                                                                 : " %s",
               a->metavar);
    if (a->optional && !a[1].optional)
      buf_text(b, "]");
  }
  char group = 0;
  for (const struct ctl_option *o = command->options; o->name; o++) {
    bool first = o->group && o->group != group, last = o->group && o[1].group != o->group;
    buf_text(b, first ? " (" : o->group ? " | " : o->required ? " " : " [");
    buf_format(b, "--%s%s%s", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
    buf_text(b, last ? ")" : o->group || o->required ? "" : "]");
    group = o->group;
  }
  return b->err;
}

static void print_options(FILE *f, const struct ctl_option *options) {
  for (const struct ctl_option *o = options; o->name; o++) {
    char left[128];
    snprintf(left, sizeof left, "--%s%s%s", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
    if (strlen(left) > 24)
      fprintf(f, "  %s\n  %24s  %s\n", left, "", o->help);
    else
      fprintf(f, "  %-24s  %s\n", left, o->help);
  }
}

static void print_synopsis(FILE *f, const struct ctl_command *command) {
  _buf_cleanup_ struct buf b = BUF_INIT(4096);
  ctl_synopsis(&b, command);
  const char *synopsis = buf_cstr(&b);
  fprintf(f, "%s\n", synopsis ? synopsis : command->path);
}

static void help_command(FILE *f, const struct ctl_command *command) {
  fputs("usage: asaleectl [OPTION...] ", f);
  print_synopsis(f, command);
  fprintf(f, "\n%s\n", command->summary);
  if (command->options[0].name) {
    fputs("\nOptions:\n", f);
    print_options(f, command->options);
  }
  fputs("\nOptions of every command:\n", f);
  print_options(f, ctl_globals);
}

static bool below(const char *path, const char *word) {
  size_t n = strlen(word);
  return !strncmp(path, word, n) && (path[n] == ' ' || !path[n]);
}

/* The commands that begin with a word, or all. */
static void help_commands(FILE *f, const char *word) {
  fputs("usage: asaleectl [OPTION...] COMMAND ...\n\nCommands:\n", f);
  for (const struct ctl_command *command = ctl_commands; command->path; command++)
    if (!word || below(command->path, word))
      fprintf(f, "  %-18s  %s\n", command->path, command->summary);
  fputs("\nOptions of every command:\n", f);
  print_options(f, ctl_globals);
  fputs("\nasaleectl COMMAND --help tells the options of one. Exit status: 0 done, 1 refused by the daemon,\n"
        "2 wrong command line, 3 daemon not reached. See asaleectl(1).\n",
        f);
}

static bool is_noun(const char *word) {
  for (const struct ctl_command *command = ctl_commands; command->path; command++)
    if (below(command->path, word) && strlen(command->path) > strlen(word))
      return true;
  return false;
}

/* A command whose word begins others too tells them after itself. */
static void help_found(FILE *f, const struct ctl_command *command) {
  help_command(f, command);
  if (!is_noun(command->path))
    return;
  fputs("\nSee also:\n", f);
  for (const struct ctl_command *other = ctl_commands; other->path; other++)
    if (other != command && below(other->path, command->path))
      fprintf(f, "  %-16s  %s\n", other->path, other->summary);
}

static const struct ctl_command *command_find(const char *path) {
  for (const struct ctl_command *command = ctl_commands; command->path; command++)
    if (!strcmp(command->path, path))
      return command;
  return NULL;
}

/* The command that the first words name, and how many of them; NULL. */
static const struct ctl_command *command_of(const char *first, const char *second, int *ret_words) {
  char path[64];
  const struct ctl_command *command = NULL;
  if (first && second && (size_t)snprintf(path, sizeof path, "%s %s", first, second) < sizeof path)
    command = command_find(path);
  *ret_words = command ? 2 : 1;
  return command || !first || strchr(first, ' ') ? command : command_find(first);
}

int cmd_help(struct ctl *c) {
  int words;
  if (!c->args[0]) {
    help_commands(c->out, NULL);
    return CTL_OK;
  }
  const struct ctl_command *command = command_of(c->args[0], c->args[1], &words);
  if (command && (words == 2 || !c->args[1])) {
    help_found(c->out, command);
    return CTL_OK;
  }
  if (!c->args[1] && is_noun(c->args[0])) {
    help_commands(c->out, c->args[0]);
    return CTL_OK;
  }
  return ctl_usage(c, "pas de commande « %s%s%s »", c->args[0], c->args[1] ? " " : "", c->args[1] ? c->args[1] : "");
}

/* ---- completion --------------------------------------------------------------------------------------------- */

static void print_words(FILE *f, const char *choices) {
  for (; *choices; choices++)
    fputc(*choices == '|' ? ' ' : *choices, f);
}

/* "'queue '*" and "'order list'": how the script's "$noun $verb" looks in a command. */
static void complete_command(FILE *f, const struct ctl_command *command) {
  fprintf(f, strchr(command->path, ' ') ? "'%s')" : "'%s '*)", command->path);
}

/* A case for each command; those of two words first, as 'order '* would take "order list" too. */
static void complete_commands(FILE *f, void (*print)(FILE *f, const struct ctl_command *command, const char *name),
                              const char *name) {
  fputs("case \"$noun $verb\" in\n", f);
  for (int words = 2; words; words--)
    for (const struct ctl_command *command = ctl_commands; command->path; command++)
      if ((strchr(command->path, ' ') != NULL) == (words == 2))
        print(f, command, name);
}

/* The values of a choice, which are each command's own. */
static void complete_choices(FILE *f, const struct ctl_command *command, const char *name) {
  for (const struct ctl_option *o = command->options; o->name; o++)
    if (!strcmp(o->name, name)) {
      fputs("        ", f);
      complete_command(f, command);
      fputs(" words='", f);
      print_words(f, o->metavar);
      fputs("' ;;\n", f);
    }
}

static void complete_choice(FILE *f, const char *name) {
  complete_commands(f, complete_choices, name);
  fputs("      esac ;;\n", f);
}

static void complete_options(FILE *f, const struct ctl_command *command, const char *name) {
  (void)name;
  if (!command->options[0].name)
    return;
  fputs("        ", f);
  complete_command(f, command);
  fputs(" words='", f);
  for (const struct ctl_option *o = command->options; o->name; o++)
    fprintf(f, "--%s ", o->name);
  fputs("' ;;\n", f);
}

static void complete_files(FILE *f, const struct ctl_command *command, const char *name) {
  (void)name;
  if (command->args[0].kind != KIND_FILE && command->args[0].kind != KIND_FILES)
    return;
  fputs("        ", f);
  complete_command(f, command);
  fputs(" files=1 ;;\n", f);
}

/* Every option with a value, once: what may follow it. */
static void complete_values(FILE *f, const struct ctl_option *options, struct buf *seen) {
  for (const struct ctl_option *o = options; o->name; o++) {
    char key[64];
    snprintf(key, sizeof key, " %s ", o->name);
    const char *before = buf_cstr(seen);
    if (!o->metavar || (before && strstr(before, key)))
      continue;
    buf_text(seen, key);
    fprintf(f, "    --%s) ", o->name);
    if (o->kind == KIND_CHOICE)
      complete_choice(f, o->name);
    else
      fputs(o->kind == KIND_FILE ? "files=1 ;;\n" : "return 0 ;;\n", f);
  }
}

/* The options with a value, so that the value is not taken for a word of the command. */
static void complete_names(FILE *f) {
  _buf_cleanup_ struct buf seen = BUF_INIT(8192);
  const struct ctl_option *options = ctl_globals;
  for (const struct ctl_command *command = ctl_commands; options; command++) {
    for (const struct ctl_option *o = options; o->name; o++) {
      char key[64];
      snprintf(key, sizeof key, " %s ", o->name);
      const char *before = buf_cstr(&seen);
      if (!o->metavar || (before && strstr(before, key)))
        continue;
      fprintf(f, "%s--%s", before && *before ? "|" : "", o->name);
      buf_text(&seen, key);
    }
    options = command->path ? command->options : NULL;
  }
}

static void complete_paths(FILE *f) {
  const char *noun = "";
  for (const struct ctl_command *command = ctl_commands; command->path; command++) {
    const char *space = strchr(command->path, ' ');
    size_t n = space ? (size_t)(space - command->path) : strlen(command->path);
    if (strlen(noun) >= n && !strncmp(noun, command->path, n) && (noun[n] == ' ' || !noun[n]))
      continue; /* this noun was printed */
    noun = command->path;
    fprintf(f, " %.*s", (int)n, command->path);
  }
}

static void complete_verbs(FILE *f) {
  for (const struct ctl_command *command = ctl_commands; command->path; command++) {
    const char *space = strchr(command->path, ' ');
    char noun[32];
    size_t n = space ? (size_t)(space - command->path) : 0;
    if (!space || n >= sizeof noun)
      continue;
    memcpy(noun, command->path, n);
    noun[n] = 0;
    const struct ctl_command *first = ctl_commands;
    while (!strchr(first->path, ' ') || !below(first->path, noun))
      first++;
    if (first != command)
      continue;
    fprintf(f, "        '%s ') words='", noun);
    for (const struct ctl_command *other = command; other->path; other++)
      if (strchr(other->path, ' ') && below(other->path, noun))
        fprintf(f, "%s%s", other == command ? "" : " ", other->path + n + 1);
    fputs("' ;;\n", f);
  }
}

int cmd_completion_bash(struct ctl *c) {
  FILE *f = c->out;
  _buf_cleanup_ struct buf seen = BUF_INIT(8192);
  fputs("# bash completion for asaleectl, printed by: asaleectl completion bash\n"
        "_asaleectl() {\n"
        "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
        "  local words='' files='' noun='' verb='' i\n"
        "  COMPREPLY=()\n"
        "  if [[ $cur == '=' ]]; then\n"
        "    cur=''\n"
        "  elif [[ $prev == '=' ]] && ((COMP_CWORD > 2)); then\n"
        "    prev=${COMP_WORDS[COMP_CWORD-2]}\n"
        "  fi\n"
        "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
        "    case ${COMP_WORDS[i]} in\n"
        "      ",
        f);
  complete_names(f);
  fputs(
      ")\n"
      "        if [[ ${COMP_WORDS[i+1]} == '=' ]]; then ((i += 2)); else ((i++)); fi ;;\n"
      "      -*) ;;\n"
      "      *) if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}; elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}; fi ;;\n"
      "    esac\n"
      "  done\n"
      "  [[ $noun == help ]] && noun=$verb verb=''\n"
      "  case $prev in\n",
      f);
  complete_values(f, ctl_globals, &seen);
  for (const struct ctl_command *command = ctl_commands; command->path; command++)
    complete_values(f, command->options, &seen);
  fputs("  esac\n"
        "  if [[ -z $words && -z $files ]]; then\n"
        "    if [[ $cur == -* ]]; then\n"
        "      ",
        f);
  complete_commands(f, complete_options, NULL);
  fputs("      esac\n"
        "      words+='",
        f);
  for (const struct ctl_option *o = ctl_globals; o->name; o++)
    fprintf(f, " --%s", o->name);
  fputs("'\n"
        "    elif [[ -z $noun ]]; then\n"
        "      words='",
        f);
  complete_paths(f);
  fputs("'\n"
        "    else\n"
        "      ",
        f);
  complete_commands(f, complete_files, NULL);
  complete_verbs(f);
  fputs("      esac\n"
        "    fi\n"
        "  fi\n"
        "  if [[ -n $files ]]; then\n"
        "    compopt -o filenames 2>/dev/null\n"
        "    mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
        "  else\n"
        "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
        "  fi\n"
        "}\n"
        "complete -F _asaleectl asaleectl\n",
        f);
  return CTL_OK;
}

/* ---- parsing ------------------------------------------------------------------------------------------------ */

const char *ctl_option(const struct ctl *c, const char *name) {
  for (size_t i = 0; c->command->options[i].name; i++)
    if (!strcmp(c->command->options[i].name, name))
      return c->values[i];
  abort(); /* an option that the table does not have */
}

uint64_t ctl_number(const struct ctl *c, const char *name, uint64_t otherwise) {
  const char *text = ctl_option(c, name);
  uint64_t n;
  return text && str_to_u64(text, 0, UINT64_MAX, &n) == 0 ? n : otherwise;
}

static const struct ctl_option *option_find(const struct ctl_option *options, const char *name, size_t n) {
  for (const struct ctl_option *o = options; o->name; o++)
    if (strlen(o->name) == n && !strncmp(o->name, name, n))
      return o;
  return NULL;
}

static const struct ctl_option *option_anywhere(const char *name, size_t n) {
  const struct ctl_option *o = option_find(ctl_globals, name, n);
  for (const struct ctl_command *command = ctl_commands; command->path && !o; command++)
    o = option_find(command->options, name, n);
  return o;
}

static bool is_choice(const char *choices, const char *value) {
  size_t n = strlen(value);
  if (strchr(value, '|'))
    return false;
  for (const char *p = choices; n; p = strchr(p, '|') + 1) {
    if (!strncmp(p, value, n) && (p[n] == '|' || !p[n]))
      return true;
    if (!strchr(p, '|'))
      break;
  }
  return false;
}

static bool is_numbered(const char *value, const char *letters) {
  uint64_t n;
  return value[0] && strchr(letters, value[0]) && value[1] == '-' && value[2] != '0' &&
         str_to_u64(value + 2, 1, INT64_MAX, &n) == 0;
}

/* R-12/1 */
static bool is_picture(const char *value) {
  char record[STR_REF_MAX];
  size_t n = strcspn(value, "/");
  uint64_t number;
  if (n >= sizeof record || !value[n] || value[n + 1] == '0' || str_to_u64(value + n + 1, 1, 32, &number) < 0)
    return false;
  memcpy(record, value, n);
  record[n] = 0;
  return is_numbered(record, "R");
}

/* R-12,R-13 */
static bool is_records(const char *value) {
  for (const char *p = value;; p++) {
    char record[STR_REF_MAX];
    size_t n = strcspn(p, ",");
    if (n >= sizeof record)
      return false;
    memcpy(record, p, n);
    record[n] = 0;
    if (!is_numbered(record, "R"))
      return false;
    p += n;
    if (!*p)
      return true;
  }
}

/* signs=rbbb,long_qt; a list may be empty */
static bool is_finding(const char *value) {
  static const char code[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
  size_t n = strspn(value, code);
  if (!n || value[n] != '=')
    return false;
  for (const char *p = value + n + 1; *p; p += n + 1) {
    n = strspn(p, code);
    if (!n || (p[n] && (p[n] != ',' || !p[n + 1])))
      return false;
    if (!p[n])
      break;
  }
  return true;
}

/* Digits; Corsica's begin with 2A or 2B. */
static bool is_finess_shape(const char *text) {
  const size_t department = !strncmp(text, "2A", 2) || !strncmp(text, "2B", 2) ? 2 : 0;
  return strspn(text + department, "0123456789") + department == 9 && strlen(text) == 9;
}

/* Why a value does not fit, in French, or NULL. */
static const char *misfit(const char *value, enum ctl_kind kind, const struct ctl_option *o) {
  static const char id[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  size_t n = strlen(value);
  enum ins_authority authority;
  uint64_t number;
  struct wall w;
  if (!n)
    return "la valeur est vide";
  switch (kind) {
  case KIND_TEXT:
    for (const char *p = value; *p;) {
      size_t part = strcspn(p, "\n\t");
      if (!str_is_clean_utf8(p, part))
        return "le texte doit être en UTF-8, sans caractère de commande";
      p += part + (p[part] != 0);
    }
    return n > 200000 ? "le texte est trop long" : NULL;
  case KIND_CHOICE:
    return is_choice(o->metavar, value) ? NULL : "les valeurs possibles sont";
  case KIND_NUMBER:
    return str_to_u64(value, o->min, o->max, &number) < 0 ? "un nombre est attendu, de" : NULL;
  case KIND_DATE:
    return wall_is_date(value) ? NULL : "une date s'écrit AAAA-MM-JJ";
  case KIND_TIME:
    return wall_is_date(value) || wall_parse(value, &w) == 0
               ? NULL
               : "un instant s'écrit AAAA-MM-JJ, ou AAAA-MM-JJTHH:MM:SS+02:00";
  case KIND_ID:
    return n <= 64 && strspn(value, id) == n
               ? NULL
               : "un identifiant a 1 à 64 lettres sans accent, chiffres, « . », « _ », « - »";
  case KIND_NAME:
    for (size_t i = 0; i < n; i++)
      if (value[i] <= 0x20 || value[i] > 0x7e)
        return "un nom de compte n'a ni espace ni accent";
    return n <= 64 ? NULL : "un nom de compte a au plus 64 caractères";
  case KIND_STUDY:
    return is_numbered(value, "S") ? NULL : "un examen s'écrit S-12";
  case KIND_ITEM:
    return is_numbered(value, "SR") ? NULL : "un examen s'écrit S-12, un enregistrement R-12";
  case KIND_DECODED:
    return is_numbered(value, "SU") ? NULL : "un examen s'écrit S-12, une mesure sans patient U-12";
  case KIND_RECORDS:
    return is_records(value) ? NULL : "des enregistrements s'écrivent R-12,R-13";
  case KIND_ORDER:
    return is_numbered(value, "O") ? NULL : "une prescription s'écrit O-12";
  case KIND_TRAY:
    return is_numbered(value, "U") ? NULL : "une mesure sans patient s'écrit U-12";
  case KIND_IMPORT:
    return is_numbered(value, "F") ? NULL : "un fichier reçu s'écrit F-12";
  case KIND_RECORD:
    return is_numbered(value, "R") ? NULL : "un enregistrement s'écrit R-12";
  case KIND_PICTURE:
    return is_picture(value) ? NULL : "une image s'écrit R-12/1";
  case KIND_FOLLOWUP:
    return is_numbered(value, "W") ? NULL : "un suivi s'écrit W-12";
  case KIND_DELEGATION:
    return is_numbered(value, "D") ? NULL : "une délégation s'écrit D-12";
  case KIND_ABSENCE:
    return is_numbered(value, "A") ? NULL : "une absence s'écrit A-12";
  case KIND_NOTICE:
    return is_numbered(value, "N") ? NULL : "un avis s'écrit N-12";
  case KIND_RPPS:
    return rpps_is_valid(value)                          ? NULL
           : n == 11 && strspn(value, "0123456789") == n ? "la clé de contrôle de ce numéro RPPS est fausse"
                                                         : "un numéro RPPS a 11 chiffres";
  case KIND_FINESS:
    return finess_is_valid(value)   ? NULL
           : is_finess_shape(value) ? "la clé de contrôle de ce numéro FINESS est fausse"
                                    : "un numéro FINESS a 9 chiffres (en Corse, 2A ou 2B et 7 chiffres)";
  case KIND_INS:
    return ins_is_valid(value) ? NULL : "un matricule INS a 15 caractères avec sa clé, et celui-ci n'en est pas un";
  case KIND_INS_OID:
    return ins_authority_find(value, &authority)
               ? NULL
               : "un OID de l'INS est attendu : 1.2.250.1.213.1.4.8 (NIR) ou 1.2.250.1.213.1.4.9 (NIA)";
  case KIND_FINDINGS:
    return is_finding(value) ? NULL : "un constat s'écrit CHAMP=CODE[,CODE] (voir asaleectl forms)";
  case KIND_CLAIM:
    return hash_is_text(value) ? NULL : "un jeton de lecture a 64 chiffres hexadécimaux";
  case KIND_KEY:
    return hash_is_text(value) ? NULL : "une clé publique a 64 chiffres hexadécimaux, en minuscules";
  case KIND_DIGEST:
    return hash_is_text(value) ? NULL : "une empreinte a 64 chiffres hexadécimaux, en minuscules";
  case KIND_SHOWN:
    return strspn(value, "0123456789abcdef") == n && n >= CTL_SHOWN_DIGITS && n < HASH_TEXT
               ? NULL
               : "l'empreinte de ce qui a été lu a 12 chiffres hexadécimaux ou plus, en minuscules";
  default:
    return NULL;
  }
}

/* `name` is what is told of the option, or of the argument. */
static int check_value(struct ctl *c, const char *name, const struct ctl_option *o, const char *value) {
  const char *why = o->kind == KIND_NONE ? NULL : misfit(value, o->kind, o);
  if (!why)
    return CTL_OK;
  if (o->kind == KIND_CHOICE && *value)
    return ctl_usage(c, "%s : %s %s", name, why, o->metavar);
  if (o->kind == KIND_NUMBER && *value)
    return ctl_usage(c, "%s : %s %llu à %llu", name, why, (unsigned long long)o->min, (unsigned long long)o->max);
  return ctl_usage(c, "%s : %s", name, why);
}

static int check_option(struct ctl *c, const struct ctl_option *o, const char *value) {
  char name[64];
  snprintf(name, sizeof name, "--%s", o->name);
  return check_value(c, name, o, value);
}

static int check_argument(struct ctl *c, const struct ctl_argument *a, const char *value) {
  char name[128];
  snprintf(name, sizeof name, "%s « %.80s »", a->metavar, value);
  const struct ctl_option as = {.metavar = a->choices, .kind = a->kind, .min = a->min, .max = a->max};
  return check_value(c, name, &as, value);
}

struct given {
  const struct ctl_option *option; /* by its name: the command's own may be another row */
  const char *value;
};

struct line {
  struct given options[32];
  size_t n_options;
  const char *words[CTL_ARGS_MAX + 1]; /* two may name the command */
  int n_words, command_words;          /* how many may name the command: those before "--" */
};

static int parse_option(struct ctl *c, struct line *l, int argc, char *const argv[], int *i) {
  const char *name = argv[*i] + 2;
  size_t n = strcspn(name, "=");
  const struct ctl_option *o = option_anywhere(name, n);
  if (!o)
    return ctl_usage(c, "option inconnue : --%.*s (voir asaleectl --help)", (int)(n > 64 ? 64 : n), name);
  const char *value = name[n] ? name + n + 1 : NULL;
  if (o->kind == KIND_NONE && value)
    return ctl_usage(c, "l'option --%s n'attend pas de valeur", o->name);
  if (o->kind != KIND_NONE && !value) {
    if (*i + 1 >= argc || !strncmp(argv[*i + 1], "--", 2))
      return ctl_usage(c, "l'option --%s attend une valeur (--%s %s)", o->name, o->name, o->metavar);
    value = argv[++*i];
  }
  for (size_t k = 0; k < l->n_options; k++)
    if (!strcmp(l->options[k].option->name, o->name))
      return ctl_usage(c, "l'option --%s est donnée deux fois", o->name);
  if (l->n_options == sizeof l->options / sizeof *l->options)
    return ctl_usage(c, "trop d'options");
  l->options[l->n_options++] = (struct given){o, value ? value : ""};
  return CTL_OK;
}

static const char *line_option(const struct line *l, const char *name) {
  for (size_t i = 0; i < l->n_options; i++)
    if (!strcmp(l->options[i].option->name, name))
      return l->options[i].value;
  return NULL;
}

static int parse_line(struct ctl *c, struct line *l, int argc, char *const argv[]) {
  bool literal = false;
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i];
    if (!literal && !strcmp(arg, "--")) {
      literal = true;
    } else if (!literal && !strncmp(arg, "--", 2)) {
      int r = parse_option(c, l, argc, argv, &i);
      if (r != CTL_OK)
        return r;
    } else if (!literal && !strcmp(arg, "-h")) {
      char *const help[] = {argv[0], (char[]){"--help"}};
      int at = 1, r = line_option(l, "help") ? CTL_OK : parse_option(c, l, 2, help, &at);
      if (r != CTL_OK)
        return r;
    } else if (!literal && arg[0] == '-' && arg[1]) {
      return ctl_usage(c, "option inconnue : %.64s (voir asaleectl --help)", arg);
    } else if (l->n_words == sizeof l->words / sizeof *l->words) {
      return ctl_usage(c, "trop d'arguments");
    } else {
      l->words[l->n_words++] = arg;
      l->command_words += !literal;
    }
  }
  return CTL_OK;
}

static int take_options(struct ctl *c, const struct line *l) {
  for (size_t i = 0; i < l->n_options; i++) {
    const char *name = l->options[i].option->name;
    const struct ctl_option *o = option_find(ctl_globals, name, strlen(name));
    const struct ctl_option *own = option_find(c->command->options, name, strlen(name));
    if (!o && !own)
      return ctl_usage(c, "l'option --%s n'est pas de la commande « %s » (voir asaleectl %s --help)", name,
                       c->command->path, c->command->path);
    int r = check_option(c, own ? own : o, l->options[i].value);
    if (r != CTL_OK)
      return r;
    if (own)
      c->values[own - c->command->options] = l->options[i].value;
  }
  for (const struct ctl_option *o = c->command->options; o->name; o++) {
    if (o->required && !ctl_option(c, o->name))
      return ctl_usage(c, "il manque l'option --%s %s", o->name, o->metavar);
    if (!o->group || (o > c->command->options && o[-1].group == o->group))
      continue;
    int n = 0;
    for (const struct ctl_option *other = o; other->name && other->group == o->group; other++)
      n += ctl_option(c, other->name) != NULL;
    if (n != 1)
      return ctl_usage(c, "il faut une option, et une seule, parmi --%s et --%s", o->name, o[1].name);
  }
  return CTL_OK;
}

static int take_arguments(struct ctl *c, const struct line *l, int words) {
  int at = words;
  size_t n = 0;
  for (const struct ctl_argument *a = c->command->args; a->metavar; a++) {
    const bool none = a->kind == KIND_WORDS || a->kind == KIND_FINDINGS, many = none || a->kind == KIND_FILES;
    size_t first = n;
    do {
      if (at == l->n_words && (none || n > first || (a->optional && (a == c->command->args || !a[-1].optional))))
        return CTL_OK;
      if (at == l->n_words)
        return ctl_usage(c, "il manque %s (voir asaleectl %s --help)", a->metavar, c->command->path);
      if (n + 1 >= CTL_ARGS_MAX)
        return ctl_usage(c, "trop d'arguments");
      int r = a->kind == KIND_WORDS ? CTL_OK : check_argument(c, a, l->words[at]);
      if (r != CTL_OK)
        return r;
      c->args[n++] = l->words[at++];
    } while (many);
  }
  if (at < l->n_words)
    return ctl_usage(c, "argument en trop : « %.80s »", l->words[at]);
  return CTL_OK;
}

static const char *environment(const char *name) {
  const char *value = getenv(name);
  return value && *value ? value : NULL;
}

static int connect_options(struct ctl *c, const struct line *l) {
  c->json = line_option(l, "json") != NULL;
  c->acting_for = line_option(l, "acting-for");
  c->socket = line_option(l, "socket");
  c->socket = c->socket ? c->socket : environment("ASALEED_SOCKET");
  c->socket = c->socket ? c->socket : CTL_SOCKET_DEFAULT;
  c->token_file = line_option(l, "token-file");
  c->token_file = c->token_file ? c->token_file : environment("ASALEED_TOKEN_FILE");
  c->client = (struct http_client){.path = c->socket, .timeout_ms = HTTP_TIMEOUT_MS, .wake_fd = -1};
  if (strlen(c->socket) > 107)
    return ctl_usage(c, "--socket : le chemin est trop long (107 octets au plus)");
  if (c->acting_for && !c->token_file)
    return ctl_usage(c, "--acting-for demande le jeton d'un compte lgc (--token-file FILE)");
  return c->token_file ? ctl_read_secret(c, c->token_file, c->token, sizeof c->token) : CTL_OK;
}

static int run(struct ctl *c, int argc, char *const argv[]) {
  struct line l = {0};
  int words, r = parse_line(c, &l, argc, argv);
  if (r != CTL_OK)
    return r;
  const char *first = l.command_words > 0 ? l.words[0] : NULL, *second = l.command_words > 1 ? l.words[1] : NULL;
  c->command = command_of(first, second, &words);
  if (line_option(&l, "version")) {
    fprintf(c->out, "asaleectl %s\n", ASALEED_VERSION);
    return CTL_OK;
  }
  if (line_option(&l, "help") && (!first || c->command || is_noun(first))) {
    if (c->command)
      help_found(c->out, c->command);
    else
      help_commands(c->out, first);
    return CTL_OK;
  }
  if (!c->command && first && is_noun(first))
    return ctl_usage(c, "« %s » demande un mot de plus (voir asaleectl %s --help)", first, first);
  if (!c->command && first)
    return ctl_usage(c, "commande inconnue : « %.80s » (voir asaleectl --help)", first);
  if (!c->command) {
    help_commands(c->err, NULL);
    return CTL_USAGE;
  }
  r = take_options(c, &l);
  if (r == CTL_OK)
    r = take_arguments(c, &l, words);
  if (r != CTL_OK || c->command->local)
    return r == CTL_OK ? c->command->run(c) : r;
  r = connect_options(c, &l);
  if (r != CTL_OK)
    return r;
  if (hash_open() < 0) {
    ctl_say(c, "pas de hasard pour les clés d'idempotence");
    return CTL_REFUSED;
  }
  return c->command->run(c);
}

int ctl_run(int argc, char *const argv[], FILE *out, FILE *err) {
  const char *term = getenv("TERM");
  int fd = fileno(out);
  struct ctl c = {.out = out, .err = err, .tty = fd >= 0 && isatty(fd) && term && *term && strcmp(term, "dumb") != 0};
  int r = run(&c, argc, argv);
  explicit_bzero(c.token, sizeof c.token);
  if ((fflush(out) == EOF || ferror(out)) && r == CTL_OK) {
    ctl_say(&c, "la sortie n'a pas pu être écrite");
    r = CTL_REFUSED;
  }
  return r;
}
