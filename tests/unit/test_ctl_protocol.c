/* asaleectl's commands for the practice under its protocols: people, delegations, follow-ups, notices, and what a
 * reader does; what each sends and prints, and what it refuses to send. */
#include "ctl_bed.h"

#include "ctl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NURSE "10100000016"
#define GP "10100000024"
#define DEPUTY "10100000032"
#define FINESS "750000010"
#define INS "257037505600145"
#define NIR "1.2.250.1.213.1.4.8"
#define SEEN "00000000000000000000000000000000000000000000000000000000000000aa"
#define SIGN "--claim", CLAIM, "--shown", SEEN, "--conclusion", "normal", "--text", "x"
#define AMEND "--shown", SEEN, "--conclusion", "normal", "--text", "x"
#define DELEGATION                                                                                             \
  "--nurse", NURSE, "--gp", GP, "--protocol", "diabete-type2", "--authorisation", "Arrêté 12", "--authorised", \
      "2012-06-18", "--from", "2025-01-01", "--until", "2027-12-31", "--nurse-adhesion", "2024-10-01"

/* ---- what is refused before anything is sent ---------------------------------------------------------------- */

static void test_usage(void **state) {
  (void)state;
  static const struct {
    const char *args[24], *say;
  } wrong[] = {
      {{"user", "link", "ines"}, "il manque RPPS"},
      {{"user", "link", "ines", "1010000001"}, "un numéro RPPS a 11 chiffres"},
      {{"user", "link", "ines", "10100000017"}, "la clé de contrôle de ce numéro RPPS est fausse"},
      {{"user", "link", "ines", "1010000001x"}, "un numéro RPPS a 11 chiffres"},
      {{"user", "grant", "logiciel"}, "il manque PERSON"},
      {{"user", "revoke", "logiciel", "é"}, "nom de compte"},
      {{"user", "password"}, "il manque NAME"},
      {{"me", "too"}, "argument en trop"},
      {{"professional", "put", NURSE, "--family", "A", "--given", "B", "--role", "nurse"}, "--finess"},
      {{"professional", "put", NURSE, "--family", "A", "--given", "B", "--role", "admin", "--finess", FINESS},
       "nurse|gp|ophthalmologist"},
      {{"professional", "put", NURSE, "--family", "A", "--given", "B", "--role", "nurse", "--finess", "750000011"},
       "la clé de contrôle de ce numéro FINESS est fausse"},
      {{"professional", "put", NURSE, "--family", "A", "--given", "B", "--role", "nurse", "--finess", "2A0000011"},
       "la clé de contrôle"},
      {{"professional", "put", NURSE, "--family", "A", "--given", "B", "--role", "nurse", "--finess", "75000001"},
       "un numéro FINESS a 9 chiffres"},
      {{"professional", "put", "10100000017", "--finess", FINESS}, "--family"},
      {{"delegation", "add", DELEGATION}, "--gp-adhesion"},
      {{"delegation", "add", DELEGATION, "--gp-adhesion", "2024-02-30"}, "AAAA-MM-JJ"},
      {{"delegation", "add", "--nurse", "ines"}, "RPPS"},
      {{"delegation", "end", "D-3"}, "--reason"},
      {{"delegation", "end", "W-3", "--reason", "x"}, "D-12"},
      {{"delegation", "list", "--rpps", "ines"}, "RPPS"},
      {{"absence", "add", "--first", "2025-07-01", "--last", "2025-07-14"}, "--deputy"},
      {{"absence", "add", "--deputy", DEPUTY, "--first", "1er juillet", "--last", "2025-07-14"}, "AAAA-MM-JJ"},
      {{"absence", "end", "2"}, "A-12"},
      {{"protocol"}, "un mot de plus"},
      {{"patient", "lookup"}, "il manque FILE"},
      {{"patient", "lookup", "/nonexistent"}, "lecture impossible"},
      {{"patient", "lookup", "/dev/null"}, "Datamatrix"},
      {{"followup", "open", "4711"}, "il manque PROTOCOL"},
      {{"followup", "open", "4711", "diabete-type2", "--gp", "martin"}, "RPPS"},
      {{"followup", "show", "S-3"}, "W-12"},
      {{"followup", "transfer", "W-3", "--gp", GP}, "--reason"},
      {{"followup", "transfer", "W-3", "--reason", "x"}, "--nurse RPPS"},
      {{"followup", "close", "W-3"}, "--reason"},
      {{"order", "4711", "ecg", "--followup", "3"}, "W-12"},
      {{"page"}, "il manque STUDY"},
      {{"notices", "--limit", "201"}, "de 1 à 200"},
      {{"heard", "S-1"}, "N-12"},
      {{"queue", "--mine", "--mine"}, "deux fois"},
      {{"sign", "S-1", "sinus", SIGN}, "CHAMP=CODE"},
      {{"sign", "S-1", "=sinus", SIGN}, "CHAMP=CODE"},
      {{"sign", "S-1", "signs=rbbb,", SIGN}, "CHAMP=CODE"},
      {{"sign", "S-1", "signs=,rbbb", SIGN}, "CHAMP=CODE"},
      {{"sign", "S-1", "rhythm=Sinus", SIGN}, "CHAMP=CODE"},
      {{"sign", "S-1", "rhythm=sinus", "rhythm=paced", SIGN}, "« rhythm=paced »"},
      {{"sign", "S-1", "rhythm=sinus", "mood=good", SIGN}, "« mood=good »"},
      {{"sign", "S-1", "rhythm=sinus", "signs=rbbb,cough", SIGN}, "« signs=rbbb,cough »"},
      {{"sign", "S-1", "signs=rbbb,rbbb", "rhythm=sinus", SIGN}, "« signs=rbbb,rbbb »"},
      {{"sign", "S-1", "rhythm=", SIGN}, "« rhythm= »"},
      {{"sign", "S-1", "rhythm=sinus,paced", SIGN}, "« rhythm=sinus,paced »"},
      {{"sign", "S-1", "rhythm=sinus", "pattern=normal", SIGN}, "n'existe pas"}, /* of two acts */
      {{"sign", "S-1", "rhythm=sinus", "--findings", "x", SIGN}, "pas les deux"},
      {{"sign", "S-1", "--findings", "/nonexistent", SIGN}, "lecture impossible"},
      {{"sign", "S-1", "--findings", "/dev/null", SIGN}, "un objet JSON"},
      {{"sign", "S-1", "--claim", CLAIM, "--shown", SEEN, "--conclusion", "normal", "--findings", "-", "--text-file",
        "-"},
       "l'entrée standard"},
      {{"amend", "S-1", AMEND, "--reason", "y"}, "--amends"},
      {{"amend", "S-1", "--amends", "0", AMEND, "--reason", "y"}, "de 1 à"},
      {{"amend", "S-1", "--amends", "1", AMEND}, "--reason"},
      {{"amend", "S-1", "--amends", "1", "--reason", "y", "--conclusion", "normal", "--text", "x"}, "--shown"},
      {{"sign", "S-1", "--claim", CLAIM, "--shown", "aa", "--conclusion", "normal", "--text", "x"}, "empreinte"},
      {{"preview", "S-1", "--conclusion", "normal"}, "une seule"},
      {{"preview", "S-1", "rhythm=fast", "--conclusion", "normal", "--text", "x"}, "« rhythm=fast »"},
      {{"draft"}, "un mot de plus"},
      {{"draft", "save", "S-1"}, "rien à garder"},
      {{"draft", "save", "S-1", "--text", "x", "--text-file", "y"}, "ne vont pas ensemble"},
      {{"draft", "save", "S-1", "--text", "x", "--if-match", "0"}, "un nombre"},
      {{"return", "S-1", "--claim", CLAIM}, "--code"},
      {{"return", "S-1", "--code", "110531"}, "une seule"},
      {{"refer", "S-1"}, "il manque READER"},
      {{"refer", "S-1", "nurse"}, "gp|ophthalmologist"},
      {{"refer", "S-1", "gp", "--claim", CLAIM, "--claim-file", "x"}, "ne vont pas ensemble"},
      {{"versions", "I-1"}, "S-12"},
      {{"forms", "eeg"}, "ecg|spirometry|fundus|measurement"},
  };
  unlink(socket_path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    int r = run_argv(wrong[i].args, NULL);
    if (r != CTL_USAGE)
      fail_msg("row %zu (%s) ended with %d", i, wrong[i].say, r);
    has(err_text, wrong[i].say);
    assert_string_equal(out_text, "");
  }
}

/* All three or none, each as it can be. */
static void test_usage_ins(void **state) {
  (void)state;
  static const struct {
    const char *ins, *oid, *status, *say;
  } wrong[] = {
      {INS, NULL, NULL, "vont ensemble"},
      {INS, NIR, NULL, "vont ensemble"},
      {INS, NULL, "qualified", "vont ensemble"},
      {NULL, NIR, "qualified", "vont ensemble"},
      {NULL, NIR, NULL, "vont ensemble"},
      {NULL, NULL, "qualified", "vont ensemble"},
      {"257037505600146", NIR, "qualified", "matricule"},
      {INS, "1.2.250.1.213.1.4.7", "qualified", "OID"},
      {INS, NIR, "good", "provisional|retrieved|validated|qualified"},
  };
  unlink(socket_path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    const char *args[24] = {"patient", "put", "1", "--family=A", "--given=B", "--birth-date=1957-03-02", "--sex=F"};
    size_t n = 7;
    const char *const given[][2] = {
        {"--ins", wrong[i].ins}, {"--ins-oid", wrong[i].oid}, {"--ins-status", wrong[i].status}};
    for (size_t k = 0; k < 3; k++)
      if (given[k][1]) {
        args[n++] = given[k][0];
        args[n++] = given[k][1];
      }
    assert_int_equal(run_argv(args, NULL), CTL_USAGE);
    has(err_text, wrong[i].say);
  }
}

/* ---- --json ------------------------------------------------------------------------------------------------- */

/* Whatever the command prints for people, with --json it is the answer. */
static void test_json(void **state) {
  (void)state;
  static const struct {
    const char *expect, *args[24];
  } rows[] = {
      {"POST /v1/users/a/professional ", {"user", "link", "a", NURSE}},
      {"POST /v1/users/a/grant ", {"user", "grant", "a", "b"}},
      {"POST /v1/users/a/revoke ", {"user", "revoke", "a", "b"}},
      {"POST /v1/users/a/password ", {"user", "password", "a"}},
      {"GET /v1/me ", {"me"}},
      {"PUT /v1/professionals/" NURSE " ",
       {"professional", "put", NURSE, "--family=A", "--given=B", "--role=nurse", "--finess", FINESS}},
      {"GET /v1/professionals ", {"professional", "list"}},
      {"POST /v1/delegations ", {"delegation", "add", DELEGATION, "--gp-adhesion=2024-10-01"}},
      {"GET /v1/delegations ", {"delegation", "list"}},
      {"POST /v1/delegations/D-3/end ", {"delegation", "end", "D-3", "--reason=x"}},
      {"POST /v1/absences ", {"absence", "add", "--deputy", DEPUTY, "--first=2025-07-01", "--last=2025-07-14"}},
      {"GET /v1/absences ", {"absence", "list"}},
      {"POST /v1/absences/A-2/end ", {"absence", "end", "A-2"}},
      {"GET /v1/protocols ", {"protocol", "list"}},
      {"POST /v1/followups ", {"followup", "open", "4711", "p"}},
      {"GET /v1/followups?limit=50 ", {"followup", "list"}},
      {"GET /v1/followups/W-3 ", {"followup", "show", "W-3"}},
      {"POST /v1/followups/W-3/transfer ", {"followup", "transfer", "W-3", "--gp", GP, "--reason=x"}},
      {"POST /v1/followups/W-3/close ", {"followup", "close", "W-3", "--reason=x"}},
      {"POST /v1/studies/S-1/page ", {"page", "S-1"}},
      {"GET /v1/notices?limit=7 ", {"notices", "--limit=7"}},
      {"POST /v1/notices/N-7/acknowledge ", {"heard", "N-7"}},
      {"POST /v1/studies/S-1/sign ", {"sign", "S-1", SIGN}},
      {"POST /v1/studies/S-1/amend ", {"amend", "S-1", "--amends=1", "--reason=y", AMEND}},
      {"POST /v1/studies/S-1/report ", {"preview", "S-1", "--conclusion=normal", "--text=x"}},
      {"POST /v1/studies/S-1/return ", {"return", "S-1", "--claim", CLAIM, "--code=110531"}},
      {"POST /v1/studies/S-1/refer ", {"refer", "S-1", "gp"}},
      {"GET /v1/studies/S-1/interpretations ", {"versions", "S-1"}},
      {"GET /v1/forms ", {"forms", "ecg"}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *args[26] = {"--json"};
    memcpy(args + 1, rows[i].args, sizeof rows[i].args);
    pid_t pid = SCRIPT({.expect = rows[i].expect, .status = 200, .body = "{\"x\": 1, \"items\":[]}"});
    assert_int_equal(run_argv(args, NULL), CTL_OK);
    assert_string_equal(out_text, "{\"x\":1,\"items\":[]}\n");
    free(played(pid));
    pid = SCRIPT({.expect = rows[i].expect, .status = 409, .body = PROBLEM("wrong_state", "Non.")});
    assert_int_equal(run_argv(rows[i].args, NULL), CTL_REFUSED);
    assert_string_equal(err_text, "asaleectl: Non. (wrong_state)\n");
    assert_string_equal(out_text, "");
    free(played(pid));
  }
}

/* ---- accounts and the registry ------------------------------------------------------------------------------ */

static void test_accounts(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/users/ines/professional ",
       .status = 200,
       .body = "{\"name\":\"ines\",\"rpps\":\"" NURSE "\"}"},
      {.expect = "POST /v1/users/log%2Fc/grant ",
       .status = 200,
       .body = "{\"may\":true,\"name\":\"log/c\",\"person\":\"ines\"}"},
      {.expect = "POST /v1/users/log%2Fc/revoke ",
       .status = 200,
       .body = "{\"may\":false,\"name\":\"log/c\",\"person\":\"ines\"}"},
      {.expect = "POST /v1/users/ines/password ",
       .status = 200,
       .body = "{\"name\":\"ines\",\"password\":\"tvvte-katbx-sukkb-cmtru\"}"},
      {.expect = "POST /v1/users ",
       .status = 201,
       .body = "{\"name\":\"aude\",\"role\":\"auditor\",\"display\":\"aude\",\"token\":\"tok\"}"},
      {.expect = "GET /v1/users ",
       .status = 200,
       .body = "{\"items\":[{\"name\":\"olga\",\"role\":\"ophthalmologist\",\"display\":\"Olga\",\"rpps\":\"" DEPUTY
               "\",\"disabled\":false,\"created\":\"2025-11-22T00:00:00Z\"},{\"name\":\"l\",\"role\":\"lgc\","
               "\"display\":\"L\",\"rpps\":null,\"disabled\":true,\"created\":\"2025-11-22T00:00:00Z\"}]}"});
  assert_int_equal(RUN("user", "link", "ines", NURSE), CTL_OK);
  assert_string_equal(out_text, "Compte           : ines\nRPPS             : " NURSE "\n");
  assert_int_equal(RUN("user", "grant", "log/c", "ines"), CTL_OK);
  assert_string_equal(out_text, "Compte           : log/c\nAgit pour        : ines\n");
  assert_int_equal(RUN("user", "revoke", "log/c", "ines"), CTL_OK);
  assert_string_equal(out_text, "Compte           : log/c\nN'agit plus pour : ines\n");
  assert_int_equal(RUN("user", "password", "ines"), CTL_OK);
  has(out_text, "Mot de passe     : tvvte-katbx-sukkb-cmtru\nCe mot de passe n'est affiché qu'une fois");
  assert_int_equal(RUN("user", "add", "aude", "--role", "auditor"), CTL_OK);
  has(out_text, "Rôle             : auditeur\n");
  assert_int_equal(RUN("user", "list"), CTL_OK);
  assert_string_equal(out_text, "Compte  Rôle             Nom   RPPS         État    Créé le\n"
                                "olga    ophtalmologiste  Olga  " DEPUTY "  ouvert  22/11/2025 01:00\n"
                                "l       logiciel (LGC)   L     —            fermé   22/11/2025 01:00\n");
  char *log = played(pid);
  has(log, "{\"rpps\":\"" NURSE "\"}");
  has(log, "{\"person\":\"ines\"}");
  has(log, "{\"display\":\"aude\",\"name\":\"aude\",\"role\":\"auditor\"}");
  free(log);
}

static void test_professionals(void **state) {
  (void)state;
#define PETIT \
  "{\"family\":\"PETIT\",\"finess\":\"" FINESS "\",\"given\":\"Anne\",\"role\":\"nurse\",\"rpps\":\"" NURSE "\""
  pid_t pid = SCRIPT({.expect = "PUT /v1/professionals/" NURSE " ", .status = 201, .body = PETIT ",\"version\":1}"},
                     {.expect = "PUT /v1/professionals/" NURSE " ", .status = 200, .body = PETIT ",\"version\":2}"},
                     {.expect = "GET /v1/professionals ",
                      .status = 200,
                      .body = "{\"items\":[" PETIT ",\"account\":\"anne\"},{\"family\":\"ROY\",\"finess\":\"" FINESS
                              "\",\"given\":\"Li\\u0007lo\",\"role\":\"gp\",\"rpps\":\"" GP "\",\"account\":null}]}"},
                     {.expect = "GET /v1/professionals ", .status = 200, .body = "{\"items\":[]}"});
  assert_int_equal(
      RUN("professional", "put", NURSE, "--family", "PETIT", "--given", "Anne", "--role", "nurse", "--finess", FINESS),
      CTL_OK);
  assert_string_equal(out_text, "Enregistré(e)    : " NURSE "\nNom              : PETIT Anne\n"
                                "Rôle             : infirmier(ère)\nFINESS           : " FINESS "\n");
  assert_int_equal(
      RUN("professional", "put", NURSE, "--family", "PETIT", "--given", "Anne", "--role", "nurse", "--finess", FINESS),
      CTL_OK);
  has(out_text, "Corrigé(e)       : " NURSE "\n");
  assert_int_equal(RUN("professional", "list"), CTL_OK);
  assert_string_equal(out_text, "RPPS         Nom    Prénom  Rôle            FINESS     Compte\n" NURSE
                                "  PETIT  Anne    infirmier(ère)  " FINESS "  anne\n" GP
                                "  ROY    Lilo    médecin         " FINESS "  —\n");
  assert_int_equal(RUN("professional", "list"), CTL_OK);
  assert_string_equal(out_text, "Aucun professionnel.\n");
  char *log = played(pid);
  has(log, "{\"family\":\"PETIT\",\"finess\":\"" FINESS "\",\"given\":\"Anne\",\"role\":\"nurse\"}");
  free(log);
}

#define DELEGATED(id, state, left, reason)                                                                       \
  "{\"authorisation\":\"Arrêté 12\",\"authorised\":\"2012-06-18\",\"days_left\":" left ",\"end_reason\":" reason \
  ",\"from\":\"2025-01-01\",\"gp\":\"" GP "\",\"id\":\"" id "\",\"nurse\":\"" NURSE                              \
  "\",\"protocol\":\"bpco\",\"state\":\"" state "\",\"until\":\"2027-12-31\"}"
#define DELEGATED_ROW(id, state) \
  id "         " NURSE "     " GP "  bpco       01/01/2025  31/12/2027  " state "  Arrêté 12, le 18/06/2012\n"

static void test_delegations(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/delegations ", .status = 201, .body = "{\"id\":\"D-3\"}"},
      {.expect = "GET /v1/delegations?rpps=" NURSE " ",
       .status = 200,
       .body = "{\"items\":[" DELEGATED("D-5", "future", "800", "null") "," DELEGATED(
           "D-4", "expiring", "12",
           "null") "," DELEGATED("D-3", "valid", "61", "null") "," DELEGATED("D-2", "expired", "-3",
                                                                             "null") "," DELEGATED("D-1", "ended", "9",
                                                                                                   "\"départ\"") "]}"},
      {.expect = "GET /v1/delegations ", .status = 200, .body = "{\"items\":[]}"},
      {.expect = "POST /v1/delegations/D-3/end ", .status = 200, .body = "{\"ended\":true,\"id\":\"D-3\"}"},
      {.expect = "POST /v1/delegations ",
       .status = 400,
       .body = "{\"code\":\"invalid_field\",\"detail\":\"Non.\",\"field\":\"until\"}"});
  assert_int_equal(RUN("delegation", "add", DELEGATION, "--gp-adhesion", "2024-09-01"), CTL_OK);
  assert_string_equal(out_text, "Délégation       : D-3, enregistrée\n");
  assert_int_equal(RUN("delegation", "list", "--rpps", NURSE), CTL_OK);
  assert_string_equal(out_text,
                      "Délégation  Infirmier(ère)  Médecin      Protocole  Du          Au          État              "
                      "Autorisée par\n" DELEGATED_ROW("D-5", "à venir         ")
                          DELEGATED_ROW("D-4", "FINIT DANS 12 j ") DELEGATED_ROW("D-3", "en cours        ")
                              DELEGATED_ROW("D-2", "échue           ") DELEGATED_ROW("D-1", "arrêtée (départ)"));
  assert_int_equal(RUN("delegation", "list"), CTL_OK);
  assert_string_equal(out_text, "Aucune délégation.\n");
  assert_int_equal(RUN("delegation", "end", "D-3", "--reason", "départ"), CTL_OK);
  assert_string_equal(out_text, "Délégation       : D-3, arrêtée\n");
  assert_int_equal(RUN("delegation", "add", DELEGATION, "--gp-adhesion", "2024-09-01"), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Non. (invalid_field, champ : until)\n");
  char *log = played(pid);
  has(log, "{\"authorisation\":\"Arrêté 12\",\"authorised\":\"2012-06-18\",\"from\":\"2025-01-01\",\"gp\":\"" GP
           "\",\"gp_adhesion\":\"2024-09-01\",\"nurse\":\"" NURSE
           "\",\"nurse_adhesion\":\"2024-10-01\",\"protocol\":\"diabete-type2\",\"until\":\"2027-12-31\"}");
  has(log, "{\"reason\":\"départ\"}");
  free(log);
}

#define AWAY(id, first, last, ended)                                                                      \
  "{\"deputy\":\"" DEPUTY "\",\"ended\":" ended ",\"first\":\"" first "\",\"gp\":\"" GP "\",\"id\":\"" id \
  "\",\"last\":\"" last "\"}"

static void test_absences(void **state) {
  (void)state;
  pid_t pid =
      SCRIPT({.expect = "POST /v1/absences ", .status = 201, .body = "{\"id\":\"A-2\"}"},
             {.expect = "POST /v1/absences ", .status = 201, .body = "{\"id\":\"A-3\"}"},
             {.expect = "GET /v1/absences ",
              .status = 200,
              .body = "{\"items\":[" AWAY("A-4", "2999-01-01", "2999-01-02", "false") "," AWAY(
                  "A-3", "2000-01-01", "2999-01-02", "false") "," AWAY("A-2", "2000-01-01", "2000-01-02",
                                                                       "false") "," AWAY("A-1", "2000-01-01",
                                                                                         "2999-01-02", "true") "]}"},
             {.expect = "POST /v1/absences/A-3/end ", .status = 200, .body = "{\"ended\":true,\"id\":\"A-3\"}"});
  assert_int_equal(RUN("absence", "add", "--deputy", DEPUTY, "--first", "2025-07-01", "--last", "2025-07-14"), CTL_OK);
  assert_string_equal(out_text, "Absence          : A-2, enregistrée\n");
  assert_int_equal(RUN("absence", "add", "--gp", GP, "--deputy", DEPUTY, "--first=2025-08-01", "--last=2025-08-14"),
                   CTL_OK);
  assert_int_equal(RUN("absence", "list"), CTL_OK);
  assert_string_equal(out_text, "Absence  Médecin      Remplacé par  Du          Au          État\n"
                                "A-4      " GP "  " DEPUTY "   01/01/2999  02/01/2999  à venir\n"
                                "A-3      " GP "  " DEPUTY "   01/01/2000  02/01/2999  EN COURS\n"
                                "A-2      " GP "  " DEPUTY "   01/01/2000  02/01/2000  passée\n"
                                "A-1      " GP "  " DEPUTY "   01/01/2000  02/01/2999  écourtée\n");
  assert_int_equal(RUN("absence", "end", "A-3"), CTL_OK);
  has(out_text, "A-3, terminée");
  char *log = played(pid);
  has(log, "{\"deputy\":\"" DEPUTY "\",\"first\":\"2025-07-01\",\"last\":\"2025-07-14\"}");
  has(log, "{\"deputy\":\"" DEPUTY "\",\"first\":\"2025-08-01\",\"gp\":\"" GP "\",\"last\":\"2025-08-14\"}");
  free(log);
}

static void test_protocols(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/protocols ",
       .status = 200,
       .body = "{\"items\":[{\"id\":\"diabete-type2\",\"label\":\"Diabète\",\"authorisation\":\"Arrêté 12\",\"acts\":{"
               "\"ecg\":{\"authorisation\":\"\",\"delay_hours\":24,\"nurse_sees_after\":\"nothing\","
               "\"nurse_sees_before\":\"acquired\",\"perform\":true,\"prescribe\":true,\"reader\":\"gp\","
               "\"recall_months\":12},"
               "\"fundus\":{\"authorisation\":\"Arrêté 7\",\"delay_hours\":72,\"nurse_sees_after\":\"report\","
               "\"nurse_sees_before\":\"quality\",\"perform\":false,\"prescribe\":true,\"reader\":\"ophthalmologist\","
               "\"recall_months\":0}}},"
               "{\"id\":\"vide\",\"label\":\"V\",\"authorisation\":\"\",\"acts\":{}}]}"},
      {.expect = "GET /v1/protocols ", .status = 200, .body = "{\"items\":[]}"});
  assert_int_equal(RUN("protocol", "list"), CTL_OK);
  has(out_text, "Protocole        : diabete-type2\nLibellé          : Diabète\nAutorisation     : Arrêté 12\n");
  has(out_text,
      "Acte        Prescrit par    Fait par        Lu par           Délai  Rappel   L'infirmier(ère) en voit     "
      "         Autorisation\n"
      "ECG         infirmier(ère)  infirmier(ère)  médecin          24 h   12 mois  valeurs et tracés, puis rien "
      "         —\n"
      "fond d'œil  infirmier(ère)  médecin         ophtalmologiste  72 h   —        qualité technique, puis "
      "compte rendu  Arrêté 7\n");
  has(out_text, "\nProtocole        : vide\nLibellé          : V\nAutorisation     : —\nN'ouvre aucun acte.\n");
  assert_int_equal(RUN("protocol", "list"), CTL_OK);
  assert_string_equal(out_text, "Aucun protocole.\n");
  free(played(pid));
}

static void test_me(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/me ",
       .status = 200,
       .body = "{\"acting_for\":\"ines\",\"delegations\":[" DELEGATED(
           "D-4", "expiring", "0",
           "null") "],\"must_change\":false,\"name\":\"log\",\"role\":\"nurse\",\"rpps\":\"" NURSE "\"}"},
      {.expect = "GET /v1/me ",
       .status = 200,
       .body = "{\"acting_for\":null,\"delegations\":[],\"must_change\":true,\"name\":\"adele\",\"role\":\"admin\","
               "\"rpps\":null}"});
  assert_int_equal(RUN("me"), CTL_OK);
  has(out_text, "Compte           : log\nAgit pour        : ines\nRôle             : infirmier(ère)\n"
                "RPPS             : " NURSE "\n\nDélégation");
  has(out_text, "FINIT DANS 0 j");
  assert_int_equal(RUN("me"), CTL_OK);
  assert_string_equal(out_text, "Compte           : adele\nRôle             : administrateur\nRPPS             : —\n"
                                "Mot de passe     : à changer à la prochaine ouverture de session\n");
  free(played(pid));
}

/* ---- patients ----------------------------------------------------------------------------------------------- */

#define MARIE                                                                                                       \
  "\"id\":\"4711\",\"family\":\"DUPONT\",\"given\":\"MARIE\",\"birth_date\":\"1957-03-02\",\"sex\":\"F\",\"ins\":{" \
  "\"matricule\":\"" INS "\",\"oid\":\"" NIR "\",\"status\":\"qualified\"},\"version\":2"

static void test_ins(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "PUT /v1/patients/4711 ", .status = 201, .body = "{" MARIE "}"},
                     {.expect = "GET /v1/patients/4711 ", .status = 200, .body = "{" MARIE "}"});
  assert_int_equal(RUN("patient", "put", "4711", "--family", "DUPONT", "--given", "MARIE", "--birth-date", "1957-03-02",
                       "--sex", "F", "--ins", INS, "--ins-oid", NIR, "--ins-status", "qualified"),
                   CTL_OK);
  assert_int_equal(RUN("patient", "show", "4711"), CTL_OK);
  has(out_text, "INS              : " INS " (NIR), identité qualifiée\n");
  char *log = played(pid);
  has(log, "\"ins\":\"" INS "\",\"ins_oid\":\"" NIR "\",\"ins_status\":\"qualified\"");
  free(log);
}

/* The text as a scanner gives it: through a file, its separators as their symbol, its line's end as LF. */
static void test_lookup(void **state) {
  (void)state;
  static const char *const ends[][2] = {{"", ""}, {"\n", "\\n"}, {"\r", "\\n"}, {"\r\n", "\\n"}};
  char sheet[512], wanted[512];
  for (size_t i = 0; i < 4; i++) {
    const bool differs = i == 3;
    snprintf(sheet, sizeof sheet, "IS010000000000000000000000S1" INS "S2" NIR "\x1dS3MARIE\x1dS4DUPONT\x1d%s",
             ends[i][0]);
    snprintf(wanted, sizeof wanted,
             "{\"datamatrix\":\"IS010000000000000000000000S1" INS "S2" NIR "␝S3MARIE␝S4DUPONT␝%s\"}", ends[i][1]);
    write_file(file_path, sheet);
    pid_t pid =
        SCRIPT({.expect = "POST /v1/patients/lookup ",
                .status = 200,
                .body = differs ? "{\"agrees\":{\"birth_date\":\"differs\",\"id\":\"absent\",\"name\":\"agrees\","
                                  "\"sex\":\"differs\"},\"differs\":true,\"patient\":{" MARIE "}}"
                                : "{\"agrees\":{\"birth_date\":\"agrees\",\"id\":\"absent\",\"name\":\"agrees\","
                                  "\"sex\":\"agrees\"},\"differs\":false,\"patient\":{" MARIE "}}"});
    assert_int_equal(RUN("patient", "lookup", file_path), CTL_OK);
    has(out_text, "Patient          : 4711\nNom              : DUPONT\n");
    has(out_text, differs ? "Concorde         : NON : vérifier l'identité (date de naissance, sexe)\n"
                          : "Concorde         : oui\n");
    char *log = played(pid);
    has(log, wanted);
    free(log);
  }
  /* The same from standard input, which is put back. */
  int before = dup(STDIN_FILENO), fd = open(file_path, O_RDONLY | O_CLOEXEC);
  assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
  pid_t pid = SCRIPT({.expect = "POST /v1/patients/lookup ", .status = 404, .body = PROBLEM("not_found", "Inconnu.")});
  assert_int_equal(RUN("patient", "lookup", "-"), CTL_REFUSED);
  assert_int_equal(dup2(before, STDIN_FILENO), STDIN_FILENO);
  close(before);
  close(fd);
  char *log = played(pid);
  has(log, wanted);
  free(log);
  /* What is no such text is not sent. */
  static const char *const wrong[] = {"", "\r\n", "two\nlines", "end\n\n", "bell\x07", "\xff\xfe"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    write_file(file_path, wrong[i]);
    assert_int_equal(RUN("patient", "lookup", file_path), CTL_USAGE);
    has(err_text, "ce n'est pas le texte d'un Datamatrix INS");
  }
  memset(sheet, 'A', sizeof sheet - 1);
  sheet[sizeof sheet - 1] = 0;
  char *longer = malloc(2 * sizeof sheet);
  snprintf(longer, 2 * sizeof sheet, "%s%s", sheet, sheet);
  write_file(file_path, longer);
  free(longer);
  assert_int_equal(RUN("patient", "lookup", file_path), CTL_USAGE);
  has(err_text, "trop long");
}

/* ---- follow-ups --------------------------------------------------------------------------------------------- */

#define FOLLOWED(closed)                                                      \
  "\"closed\":" closed ",\"gp\":\"" GP "\",\"id\":\"W-3\",\"nurse\":\"" NURSE \
  "\",\"opened\":\"2025-11-22T00:00:00Z\",\"patient\":\"4711\",\"protocol\":\"bpco\""
#define FOLLOWED_TEXT                                                                                \
  "Suivi            : W-3\nPatient          : 4711\nProtocole        : bpco\nMédecin          : " GP \
  "\nInfirmier(ère)   : " NURSE "\nOuvert le        : 22/11/2025 01:00\n"

static void test_followups(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/followups ", .status = 201, .body = "{" FOLLOWED("null") "}"},
      {.expect = "POST /v1/followups ", .status = 409, .body = PROBLEM("already_exists", "Déjà.")},
      {.expect = "GET /v1/followups?patient=4711&limit=50 ",
       .status = 200,
       .body = "{\"items\":[{" FOLLOWED("\"2025-11-23T00:00:00Z\"") "}],\"next\":null}"},
      {.expect = "GET /v1/followups?limit=1 ",
       .status = 200,
       .body = "{\"items\":[{" FOLLOWED("null") "}],\"next\":\"W-3\"}"},
      {.expect = "GET /v1/followups/W-3 ",
       .status = 200,
       .body = "{" FOLLOWED(
           "null") ",\"teams\":[{\"at\":\"2025-11-22T00:00:00Z\",\"by\":\"ines\",\"gp\":\"" GP "\",\"nurse\":\"" NURSE
                   "\",\"reason\":null},{\"at\":\"2025-11-23T00:00:00Z\",\"by\":\"martin\",\"gp\":"
                   "\"" DEPUTY "\",\"nurse\":\"" NURSE "\",\"reason\":\"congé\"}],\"studies\":[{\"id\":\"S-2\",\"act\":"
                   "\"ecg\",\"state\":\"interpreted\",\"created\":\"2025-11-22T00:00:00Z\",\"accepted\":"
                   "\"2025-11-22T01:00:00Z\",\"due\":\"2025-11-23T01:00:00Z\",\"reader\":\"ophthalmologist\","
                   "\"repeats\":"
                   "\"S-1\"},{\"id\":\"S-1\",\"act\":\"ecg\",\"state\":\"returned\",\"created\":\"2025-11-22T00:00:"
                   "00Z\","
                   "\"accepted\":null,\"due\":null,\"reader\":\"gp\",\"repeats\":null}]}"},
      {.expect = "POST /v1/followups/W-3/transfer ", .status = 200, .body = "{" FOLLOWED("null") "}"},
      {.expect = "POST /v1/followups/W-3/transfer ", .status = 200, .body = "{" FOLLOWED("null") "}"},
      {.expect = "POST /v1/followups/W-3/close ", .status = 200, .body = "{" FOLLOWED("\"2025-11-23T00:00:00Z\"") "}"});
  assert_int_equal(RUN("followup", "open", "4711", "bpco", "--gp", GP), CTL_OK);
  assert_string_equal(out_text, FOLLOWED_TEXT);
  assert_int_equal(RUN("followup", "open", "4711", "bpco", "--gp", GP, "--nurse", NURSE), CTL_REFUSED);
  assert_int_equal(RUN("followup", "list", "--patient", "4711"), CTL_OK);
  assert_string_equal(out_text,
                      "Suivi  Patient  Protocole  Médecin      Infirmier(ère)  Ouvert le         Terminé le\n"
                      "W-3    4711     bpco       " GP "  " NURSE "     22/11/2025 01:00  23/11/2025 01:00\n");
  assert_int_equal(RUN("followup", "list", "--limit", "1"), CTL_OK);
  has(err_text, "la liste continue");
  assert_int_equal(RUN("followup", "show", "W-3"), CTL_OK);
  assert_string_equal(
      out_text,
      FOLLOWED_TEXT "\nDepuis le         Médecin      Infirmier(ère)  Par     Motif\n"
                    "22/11/2025 01:00  " GP "  " NURSE "     ines    —\n"
                    "23/11/2025 01:00  " DEPUTY "  " NURSE "     martin  congé\n\n"
                    "Examen  Acte  État        Créé le           Transmis le       Échéance          Lecteur          "
                    "Refait\n"
                    "S-2     ECG   interprété  22/11/2025 01:00  22/11/2025 02:00  23/11/2025 02:00  ophtalmologiste  "
                    "S-1\n"
                    "S-1     ECG   renvoyé     22/11/2025 01:00  —                 —                 médecin          "
                    "—\n");
  assert_int_equal(RUN("followup", "transfer", "W-3", "--gp", DEPUTY, "--reason", "congé"), CTL_OK);
  assert_int_equal(RUN("followup", "transfer", "W-3", "--nurse", NURSE, "--gp", GP, "--reason", "retour"), CTL_OK);
  assert_int_equal(RUN("followup", "close", "W-3", "--reason", "déménagement"), CTL_OK);
  assert_string_equal(out_text, FOLLOWED_TEXT "Terminé le       : 23/11/2025 01:00\n");
  char *log = played(pid);
  has(log, "{\"gp\":\"" GP "\",\"patient\":\"4711\",\"protocol\":\"bpco\"}");
  has(log, "{\"gp\":\"" GP "\",\"nurse\":\"" NURSE "\",\"patient\":\"4711\",\"protocol\":\"bpco\"}");
  has(log, "{\"gp\":\"" DEPUTY "\",\"reason\":\"congé\"}");
  has(log, "{\"gp\":\"" GP "\",\"nurse\":\"" NURSE "\",\"reason\":\"retour\"}");
  has(log, "{\"reason\":\"déménagement\"}");
  free(log);
}

static void test_order(void **state) {
  (void)state;
#define ORDERED "{\"id\":\"O-1\",\"patient\":\"4711\",\"act\":\"ecg\",\"study\":{\"id\":\"S-1\"}}"
  pid_t pid = SCRIPT({.expect = "POST /v1/orders ", .status = 201, .body = ORDERED},
                     {.expect = "POST /v1/orders ", .status = 201, .body = ORDERED});
  assert_int_equal(RUN("order", "4711", "ecg", "--followup", "W-3"), CTL_OK);
  has(out_text, "Examen           : S-1\n");
  assert_int_equal(RUN("order", "4711", "ecg"), CTL_OK);
  char *log = played(pid);
  has(log, "{\"act\":\"ecg\",\"followup\":\"W-3\",\"patient\":\"4711\"}");
  has(log, "{\"act\":\"ecg\",\"patient\":\"4711\"}");
  free(log);
}

/* ---- notices ------------------------------------------------------------------------------------------------ */

#define NOTICE(id, kind, study, delegation, text, heard)                                                            \
  "{\"at\":\"2025-11-22T00:00:00Z\",\"by\":\"ines\",\"delegation\":" delegation ",\"heard\":" heard ",\"id\":\"" id \
  "\",\"kind\":\"" kind "\",\"study\":" study ",\"text\":" text "}"

static void test_notices(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/studies/S-1/page ",
       .status = 200,
       .body = "{\"id\":\"S-1\",\"state\":\"acquired\",\"urgent\":\"2025-11-22T00:00:00Z\"}"},
      {.expect = "POST /v1/studies/S-1/page ", .status = 409, .body = PROBLEM("wrong_state", "Déjà interprété.")},
      {.expect = "GET /v1/notices?limit=50 ",
       .status = 200,
       .body = "{\"items\":[" NOTICE("N-7", "page", "\"S-1\"", "null", "\"douleur\"", "null") "," NOTICE(
           "N-6", "delegation", "null", "\"D-3\"", "null",
           "{\"at\":\"2025-11-22T08:00:00Z\",\"by\":\"martin\"}") "," NOTICE("N-5", "reminder", "\"S-2\"", "null",
                                                                             "null",
                                                                             "null") "," NOTICE("N-4", "overdue",
                                                                                                "\"S-2\"", "null",
                                                                                                "null",
                                                                                                "null") "],\"next\":"
                                                                                                        "null}"},
      {.expect = "GET /v1/notices?limit=200 ", .status = 200, .body = "{\"items\":[],\"next\":null}"},
      {.expect = "POST /v1/notices/N-7/acknowledge ", .status = 200, .body = "{\"heard\":true,\"id\":\"N-7\"}"});
  assert_int_equal(RUN("page", "S-1", "--text", "douleur thoracique"), CTL_OK);
  assert_string_equal(out_text, "Examen           : S-1\nÉtat             : à accepter\n"
                                "URGENT depuis    : 22/11/2025 01:00\n");
  assert_int_equal(RUN("page", "S-1"), CTL_REFUSED);
  assert_int_equal(RUN("notices"), CTL_OK);
  assert_string_equal(
      out_text,
      "Avis  Le                Quoi                           Objet  De    Message  Entendu\n"
      "N-7   22/11/2025 01:00  APPEL : patient symptomatique  S-1    ines  douleur  NON\n"
      "N-6   22/11/2025 01:00  délégation qui se termine      D-3    ines  —        le 22/11/2025 09:00 par martin\n"
      "N-5   22/11/2025 01:00  bientôt à rendre               S-2    ines  —        NON\n"
      "N-4   22/11/2025 01:00  en retard                      S-2    ines  —        NON\n");
  assert_int_equal(RUN("notices", "--limit", "200"), CTL_OK);
  assert_string_equal(out_text, "Aucun avis.\n");
  assert_int_equal(RUN("heard", "N-7"), CTL_OK);
  assert_string_equal(out_text, "Avis             : N-7, entendu\n");
  char *log = played(pid);
  has(log, "{\"text\":\"douleur thoracique\"}");
  has(log, "\r\n\r\n{}\n");
  free(log);
}

static void test_queue(void **state) {
  (void)state;
  pid_t pid =
      SCRIPT({.expect = "GET /v1/queue?act=ecg&mine=1&limit=200 ",
              .status = 200,
              .body = "{\"items\":[{\"study\":\"S-1\",\"patient\":{\"id\":\"1\",\"family\":\"A\",\"given\":\"B\","
                      "\"birth_date\":\"1957-03-02\"},\"act\":\"ecg\",\"state\":\"to_interpret\","
                      "\"age_seconds\":60,\"due\":\"2025-11-22T00:00:00Z\",\"overdue\":true,\"urgent\":true,"
                      "\"clean\":true,\"reader\":\"ophthalmologist\",\"claim\":{\"by\":\"olga\"}}],\"next\":null}"},
             {.expect = "GET /v1/queue?mine=1&limit=200 ", .status = 200, .body = "{\"items\":[],\"next\":null}"});
  assert_int_equal(RUN("queue", "--mine", "--act", "ecg"), CTL_OK);
  assert_string_equal(
      out_text,
      "Examen  Patient  Né(e) le    Acte  État           Attente  Échéance  Qualité  Lecteur          Pris par\n"
      "S-1     A B      02/03/1957  ECG   à interpréter  1 min    URGENT    propre   ophtalmologiste  olga\n");
  assert_int_equal(RUN("queue", "--mine"), CTL_OK);
  free(played(pid));
}

/* ---- what a reader does ------------------------------------------------------------------------------------- */

#define SIGNED(version)                                                                                                \
  "{\"id\":\"S-1\",\"state\":\"interpreted\",\"interpretation\":{\"id\":\"I-" version "\",\"version\":" version        \
  ",\"by\":\"martin\",\"signed\":\"2025-11-22T00:00:00Z\",\"conclusion\":\"abnormal\",\"findings\":{},\"text\":\"x\"}" \
  "}"
#define SIGNED_TEXT(version)                                                             \
  "Examen           : S-1\nÉtat             : interprété\nInterprétation   : I-" version \
  "\nVersion          : " version "\nConclusion       : anormal\nSignée           : martin, le 22/11/2025 01:00\n"

/* Words of each act's form, what the daemon then gets. */
static void test_findings(void **state) {
  (void)state;
  static const struct {
    const char *words[6], *sent;
  } rows[] = {
      {{"rhythm=sinus"}, "\"findings\":{\"rhythm\":\"sinus\"}"},
      {{"rhythm=sinus", "signs=rbbb,long_qt"}, "\"findings\":{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\",\"long_qt\"]}"},
      {{"signs=rbbb", "rhythm=paced"}, "\"findings\":{\"rhythm\":\"paced\",\"signs\":[\"rbbb\"]}"},
      {{"rhythm=sinus", "signs="}, "\"findings\":{\"rhythm\":\"sinus\",\"signs\":[]}"},
      {{"pattern=obstruction", "reversibility=present"},
       "\"findings\":{\"pattern\":\"obstruction\",\"reversibility\":\"present\"}"},
      /* A field that two acts have goes by the others, and by its codes. */
      {{"signs=other,laser_scars"}, "\"findings\":{\"signs\":[\"other\",\"laser_scars\"]}"},
      {{"right_retinopathy=mild_npdr", "left_retinopathy=none", "signs=other", "recall_months=12"},
       "\"findings\":{\"left_retinopathy\":\"none\",\"recall_months\":\"12\",\"right_retinopathy\":\"mild_npdr\","
       "\"signs\":[\"other\"]}"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *args[20] = {"sign", "S-1", SIGN};
    size_t n = 10;
    for (size_t k = 0; rows[i].words[k]; k++)
      args[n++] = rows[i].words[k];
    pid_t pid = SCRIPT({.expect = "POST /v1/studies/S-1/sign ", .status = 200, .body = SIGNED("1")});
    assert_int_equal(run_argv(args, NULL), CTL_OK);
    assert_string_equal(out_text, SIGNED_TEXT("1"));
    char *log = played(pid);
    has(log, rows[i].sent);
    free(log);
  }
  /* From a file, whatever it says: the daemon judges it. None at all: none is sent. */
  write_file(file_path, " {\"rhythm\": \"new\", \"signs\": []}\n");
  pid_t pid = SCRIPT({.expect = "POST /v1/studies/S-1/sign ",
                      .status = 400,
                      .body = "{\"code\":\"invalid_field\",\"detail\":\"Non.\",\"field\":\"rhythm\"}"},
                     {.expect = "POST /v1/studies/S-1/sign ", .status = 200, .body = SIGNED("1")});
  assert_int_equal(RUN("sign", "S-1", "--findings", file_path, SIGN), CTL_REFUSED);
  assert_string_equal(err_text, "asaleectl: Non. (invalid_field, champ : rhythm)\n"
                                "asaleectl: les champs et les codes de chaque acte : asaleectl forms\n");
  assert_int_equal(RUN("sign", "S-1", SIGN), CTL_OK);
  char *log = played(pid);
  has(log, "{\"conclusion\":\"normal\",\"findings\":{\"rhythm\":\"new\",\"signs\":[]},\"shown\":\"" SEEN "\","
           "\"text\":\"x\",\"token\":\"" CLAIM "\"}");
  has(log, "{\"conclusion\":\"normal\",\"shown\":\"" SEEN "\",\"text\":\"x\",\"token\":\"" CLAIM "\"}");
  free(log);
  static const char *const wrong[] = {"[]", "{\"a\":1", "{\"a\":1,\"a\":2}", "{\"a\":1.5}", "rhythm=sinus"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    write_file(file_path, wrong[i]);
    assert_int_equal(RUN("sign", "S-1", "--findings", file_path, SIGN), CTL_USAGE);
    has(err_text, "un objet JSON est attendu");
  }
}

static void test_amend(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "POST /v1/studies/S-1/amend ", .status = 200, .body = SIGNED("2")},
      {.expect = "POST /v1/studies/S-1/amend ", .status = 412, .body = PROBLEM("precondition_failed", "Changé.")});
  write_file(file_path, "revu\r\nà l'ECG de repos\n");
  assert_int_equal(RUN("amend", "S-1", "rhythm=sinus", "--amends", "1", "--reason", "relecture", "--shown", SEEN,
                       "--conclusion", "abnormal", "--text-file", file_path),
                   CTL_OK);
  assert_string_equal(out_text, SIGNED_TEXT("2"));
  assert_int_equal(RUN("amend", "S-1", "rhythm=sinus", "--amends", "1", "--reason", "relecture", "--shown", SEEN,
                       "--conclusion", "abnormal", "--text", "x"),
                   CTL_REFUSED);
  has(err_text, "(precondition_failed)");
  has(err_text, "asaleectl show S-1");
  has(err_text, "asaleectl versions S-1");
  char *log = played(pid);
  has(log, "{\"conclusion\":\"abnormal\",\"findings\":{\"rhythm\":\"sinus\"},\"reason\":\"relecture\",\"shown\":\"" SEEN
           "\",\"text\":\"revu\\nà "
           "l'ECG de repos\",\"version\":1}");
  free(log);
}

/* The beginning of the digest stands for what the study shows now, and for nothing else. */
static void test_shown(void **state) {
  (void)state;
  static const char whole[] = "1f0c8b7a92d30000000000000000000000000000000000000000000000000000";
  pid_t pid = SCRIPT({.expect = "GET /v1/studies/S-1 ",
                      .status = 200,
                      .body = "{\"id\":\"S-1\",\"shown\":"
                              "\"1f0c8b7a92d30000000000000000000000000000000000000000000000000000\"}"},
                     {.expect = "POST /v1/studies/S-1/sign ", .status = 200, .body = SIGNED("1")},
                     {.expect = "GET /v1/studies/S-1 ",
                      .status = 200,
                      .body = "{\"id\":\"S-1\",\"shown\":"
                              "\"2f0c8b7a92d30000000000000000000000000000000000000000000000000000\"}"},
                     {.expect = "GET /v1/studies/S-1 ", .status = 200, .body = "{\"id\":\"S-1\"}"},
                     {.expect = "GET /v1/studies/S-1 ", .status = 404, .body = PROBLEM("not_found", "Inconnu.")});
#define PART "--claim", CLAIM, "--shown", "1f0c8b7a92d3", "--conclusion", "normal", "--text", "x"
  assert_int_equal(RUN("sign", "S-1", PART), CTL_OK);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(RUN("sign", "S-1", PART), CTL_REFUSED);
    has(err_text, "(precondition_failed)");
    has(err_text, "asaleectl show S-1");
  }
  assert_int_equal(RUN("amend", "S-1", "--amends", "1", "--reason", "y", "--shown", "1f0c8b7a92d3", "--conclusion",
                       "normal", "--text", "x"),
                   CTL_REFUSED);
  has(err_text, "(not_found)");
  char *log = played(pid);
  has(log, whole);
  free(log);
}

static void test_preview(void **state) {
  (void)state;
  pid_t pid = SCRIPT({.expect = "POST /v1/studies/S-1/report ",
                      .status = 200,
                      .body = "{\"body\":\"Conclusion : normal\\nRythme : sinusal\\n\\nlu\\u001b[2J\\n\",\"covers\":{"
                              "\"patient\":\"4711\",\"patient_version\":2,\"records\":[\"aa\",\"bb\"]}}"});
  assert_int_equal(RUN("preview", "S-1", "rhythm=sinus", "--conclusion", "normal", "--text", "lu"), CTL_OK);
  assert_string_equal(out_text, "Conclusion : normal\nRythme : sinusal\n\nlu[2J\n\nUne signature porterait sur :\n"
                                "Patient          : 4711, identité en version 2\n"
                                "Enregistrement   : aa\nEnregistrement   : bb\n");
  char *log = played(pid);
  has(log, "{\"conclusion\":\"normal\",\"findings\":{\"rhythm\":\"sinus\"},\"text\":\"lu\"}");
  free(log);
}

static void test_draft(void **state) {
  (void)state;
#define DRAFT                                                                                                  \
  "{\"conclusion\":\"abnormal\",\"findings\":{\"rhythm\":\"sinus\",\"signs\":[\"rbbb\",\"later\"]},\"saved\":" \
  "\"2025-11-22T00:00:00Z\",\"text\":\"début\"}"
#define DRAFT_TEXT(version) \
  "Version          : " version "\nEnregistré le    : 22/11/2025 01:00\nConclusion       : anormal\n"
  pid_t pid = SCRIPT(
      {.expect = "PUT /v1/studies/S-1/draft ", .status = 200, .etag = "1", .body = "{\"text\":\"début\"}"},
      {.expect = "PUT /v1/studies/S-1/draft ", .status = 428, .body = PROBLEM("precondition_required", "Relire.")},
      {.expect = "PUT /v1/studies/S-1/draft ", .status = 200, .etag = "2", .body = DRAFT},
      {.expect = "GET /v1/studies/S-1/draft ", .status = 200, .etag = "2", .body = DRAFT},
      {.expect = "GET /v1/studies/S-1/draft ", .status = 200, .etag = "2", .body = "{\"text\":\"a\"}"},
      {.expect = "GET /v1/studies/S-1/draft ", .status = 200, .etag = "x", .body = "{\"text\":\"a\"}"},
      {.expect = "GET /v1/studies/S-1/draft ", .status = 404, .body = PROBLEM("not_found", "Rien.")});
  assert_int_equal(RUN("draft", "save", "S-1", "--text", "début"), CTL_OK);
  assert_string_equal(out_text, "Version          : 1\nEnregistré le    : —\nConclusion       : —\n\ndébut\n");
  assert_int_equal(RUN("draft", "save", "S-1", "--conclusion", "abnormal"), CTL_REFUSED);
  has(err_text, "asaleectl draft show S-1");
  assert_int_equal(RUN("draft", "save", "S-1", "rhythm=sinus", "--if-match", "1"), CTL_OK);
  assert_int_equal(RUN("draft", "show", "S-1"), CTL_OK); /* a code that this program does not know stays itself */
  assert_string_equal(out_text, DRAFT_TEXT("2") "rhythm           : sinus\nsigns            : rbbb, later\n\ndébut\n");
  assert_int_equal(RUN("draft", "show", "S-1", "--json"), CTL_OK);
  assert_string_equal(out_text, "{\"text\":\"a\",\"version\":2}\n");
  assert_int_equal(RUN("draft", "show", "S-1", "--json"), CTL_OK);
  assert_string_equal(out_text, "{\"text\":\"a\",\"version\":null}\n");
  assert_int_equal(RUN("draft", "show", "S-1"), CTL_REFUSED);
  char *log = played(pid);
  has(log, "\r\n\r\n{\"text\":\"début\"}\n");
  has(log, "{\"conclusion\":\"abnormal\"}");
  has(log, "\r\nIf-Match: \"1\"\r\n");
  has(log, "\r\n\r\n{\"findings\":{\"rhythm\":\"sinus\"}}\n");
  free(log);
}

static void test_return_and_refer(void **state) {
  (void)state;
  pid_t pid =
      SCRIPT({.expect = "POST /v1/studies/S-1/return ",
              .status = 200,
              .body = "{\"id\":\"S-1\",\"state\":\"returned\",\"returned\":{\"code\":\"110531\",\"label\":\"Qualité "
                      "insuffisante\",\"repeat\":\"S-2\"}}"},
             {.expect = "POST /v1/studies/S-1/return ",
              .status = 400,
              .body = "{\"code\":\"invalid_field\",\"detail\":\"Non.\",\"field\":\"code\"}"},
             {.expect = "POST /v1/studies/S-1/refer ",
              .status = 200,
              .body = "{\"id\":\"S-1\",\"state\":\"to_interpret\",\"reader\":\"ophthalmologist\"}"},
             {.expect = "POST /v1/studies/S-1/refer ",
              .status = 200,
              .body = "{\"id\":\"S-1\",\"state\":\"to_interpret\",\"reader\":\"gp\"}"});
  write_file(file_path, CLAIM "\n");
  assert_int_equal(RUN("return", "S-1", "--claim-file", file_path, "--code", "110531", "--text", "tremblé"), CTL_OK);
  assert_string_equal(out_text, "Examen           : S-1\nÉtat             : renvoyé\n"
                                "Motif            : Qualité insuffisante\nRefait par       : S-2\n");
  assert_int_equal(RUN("return", "S-1", "--claim", CLAIM, "--code", "1"), CTL_REFUSED);
  has(err_text, "asaleectl forms");
  assert_int_equal(RUN("refer", "S-1", "ophthalmologist"), CTL_OK);
  assert_string_equal(out_text, "Examen           : S-1\nÉtat             : à interpréter\n"
                                "Lecteur          : ophtalmologiste\n");
  assert_int_equal(RUN("refer", "S-1", "gp", "--claim-file", file_path, "--text", "avis ?"), CTL_OK);
  char *log = played(pid);
  has(log, "{\"code\":\"110531\",\"text\":\"tremblé\",\"token\":\"" CLAIM "\"}");
  has(log, "{\"code\":\"1\",\"token\":\"" CLAIM "\"}");
  has(log, "\r\n\r\n{\"reader\":\"ophthalmologist\"}\n");
  has(log, "{\"reader\":\"gp\",\"text\":\"avis ?\",\"token\":\"" CLAIM "\"}");
  free(log);
}

#define VERSION(n, conclusion, findings, reason, withdrawn)                                                         \
  "{\"id\":\"I-" n "\",\"version\":" n                                                                              \
  ",\"by\":\"martin\",\"signed\":\"2025-11-22T00:00:00Z\",\"conclusion\":\"" conclusion "\",\"findings\":" findings \
  ",\"reason\":" reason ",\"text\":\"ligne 1\\nligne 2\",\"withdrawn\":" withdrawn "}"
#define VERSION_TEXT(n, more)                                                                                          \
  "\nInterprétation   : I-" n "\nVersion          : " n "\nSignée par       : martin\nLe               : 22/11/2025 " \
  "01:00\n" more "\nligne 1\nligne 2\n"

static void test_versions(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/studies/S-1/interpretations ",
       .status = 200,
       .body = "{\"items\":[" VERSION(
           "1", "normal", "{\"rhythm\":\"sinus\",\"signs\":[]}", "null",
           "{\"at\":\"2025-11-23T00:00:00Z\",\"reason\":\"autre patient\"}") "," VERSION("2", "abnormal",
                                                                                         "{\"left_retinopathy\":"
                                                                                         "\"none\",\"right_"
                                                                                         "retinopathy\":\"pdr\","
                                                                                         "\"signs\":[\"other\","
                                                                                         "\"laser_scars\"]}",
                                                                                         "\"relecture\"",
                                                                                         "null") "],\"next\":null}"},
      {.expect = "GET /v1/studies/S-1/interpretations ", .status = 200, .body = "{\"items\":[],\"next\":null}"});
  assert_int_equal(RUN("versions", "S-1"), CTL_OK);
  assert_string_equal(out_text,
                      "Examen           : S-1\nVersions         : 2\n" VERSION_TEXT(
                          "1", "RETIRÉE          : le 23/11/2025 01:00 : autre patient\nConclusion       : normal\n"
                               "Rythme           : sinusal\nSignes           : aucun\n")
                          VERSION_TEXT("2", "Corrigée pour    : relecture\nConclusion       : anormal\n"
                                            "Rétinopathie diabétique, œil gauche : absente\n"
                                            "Rétinopathie diabétique, œil droit : proliférante\n"
                                            "Autres signes    : autre, cicatrices de laser\n"));
  assert_int_equal(RUN("versions", "S-1"), CTL_OK);
  assert_string_equal(out_text, "Examen           : S-1\nVersions         : 0\n");
  free(played(pid));
}

static void test_forms(void **state) {
  (void)state;
#define FORMS                                                                                                           \
  "{\"acts\":[{\"act\":\"ecg\",\"conclusions\":[],\"fields\":[{\"code\":\"rhythm\",\"label\":\"Rythme\",\"many\":"      \
  "false,"                                                                                                              \
  "\"required\":true,\"choices\":[{\"code\":\"sinus\",\"label\":\"sinusal\",\"excludes_normal\":false},{\"code\":"      \
  "\"paced\",\"label\":\"entraîné\",\"excludes_normal\":true}]},{\"code\":\"signs\",\"label\":\"Signes\",\"many\":"   \
  "true,"                                                                                                               \
  "\"required\":false,\"choices\":[{\"code\":\"other\",\"label\":\"autre\",\"excludes_normal\":false}]}]},{\"act\":"    \
  "\"measurement\",\"conclusions\":[],\"fields\":[]}],\"return_reasons\":[{\"code\":\"110531\",\"label\":\"Qualité\"}" \
  "]}"
#define REASONS_TEXT "Code    Motif de renvoi\n110531  Qualité\n"
#define ECG_TEXT                                                         \
  "Acte             : ECG\n"                                             \
  "Constat       Ce qu'il dit       Obligatoire  Plusieurs  Si normal\n" \
  "rhythm=sinus  Rythme : sinusal   oui          non        oui\n"       \
  "rhythm=paced  Rythme : entraîné  oui          non        non\n"     \
  "signs=other   Signes : autre     non          oui        oui\n\n"
  pid_t pid = SCRIPT({.expect = "GET /v1/forms ", .status = 200, .body = FORMS},
                     {.expect = "GET /v1/forms ", .status = 200, .body = FORMS},
                     {.expect = "GET /v1/forms ", .status = 200, .body = "{\"acts\":[],\"return_reasons\":[]}"});
  assert_int_equal(RUN("forms"), CTL_OK);
  assert_string_equal(out_text, ECG_TEXT "Acte             : mesure\n"
                                         "Pas de constat : la conclusion et le texte.\n\n" REASONS_TEXT);
  assert_int_equal(RUN("forms", "ecg"), CTL_OK);
  assert_string_equal(out_text, ECG_TEXT REASONS_TEXT);
  assert_int_equal(RUN("forms"), CTL_OK);
  assert_string_equal(out_text, "Aucun motif de renvoi.\n");
  free(played(pid));
}

/* What the protocol adds to a study; and what a nurse gets of one that was read. */
static void test_show(void **state) {
  (void)state;
  pid_t pid = SCRIPT(
      {.expect = "GET /v1/studies/S-2 ",
       .status = 200,
       .body =
           "{\"id\":\"S-2\",\"order\":\"O-1\",\"act\":\"ecg\",\"state\":\"returned\",\"records\":[],\"followup\":"
           "\"W-3\",\"protocol\":\"bpco\",\"reader\":\"gp\",\"urgent\":\"2025-11-22T00:00:00Z\",\"repeats\":\"S-1\","
           "\"referrals\":[{\"at\":\"2025-11-22T00:00:00Z\",\"by\":\"martin\",\"reader\":\"ophthalmologist\","
           "\"text\":\"avis ?\"},{\"at\":\"2025-11-22T00:00:00Z\",\"by\":\"olga\",\"reader\":\"gp\"}],\"returned\":{"
           "\"at\":\"2025-11-22T00:00:00Z\",\"by\":\"martin\",\"code\":\"110531\",\"label\":\"Qualité\",\"repeat\":"
           "\"S-3\",\"text\":\"tremblé\"}}"},
      {.expect = "GET /v1/studies/S-3 ",
       .status = 200,
       .body =
           "{\"id\":\"S-3\",\"act\":\"ecg\",\"state\":\"interpreted\",\"records\":[],\"followup\":null,\"protocol\":"
           "null,\"reader\":\"gp\",\"urgent\":null,\"repeats\":null,\"referrals\":[],\"returned\":null,"
           "\"interpretation\":{\"id\":\"I-2\",\"version\":2,\"by\":\"martin\",\"signed\":"
           "\"2025-11-22T00:00:00Z\",\"conclusion\":\"abnormal\",\"findings\":{\"rhythm\":\"sinus\",\"signs\":["
           "\"rbbb\",\"long_qt\"]},\"reason\":\"relecture\",\"text\":\"x\"}}"},
      {.expect = "GET /v1/studies/S-3 ",
       .status = 200,
       .body = "{\"id\":\"S-3\",\"act\":\"ecg\",\"state\":\"interpreted\",\"records\":[],\"reader\":\"gp\","
               "\"interpretation\":{\"id\":\"I-2\",\"version\":2,\"signed\":\"2025-11-22T00:00:00Z\",\"conclusion\":"
               "\"abnormal\"}}"},
      {.expect = "GET /v1/studies/S-4 ",
       .status = 200,
       .body = "{\"id\":\"S-4\",\"act\":\"ecg\",\"state\":\"returned\",\"reader\":\"gp\",\"comment\":\"essoufflée\","
               "\"pages\":[{\"at\":\"2025-11-22T00:00:00Z\",\"by\":\"ines\",\"heard\":null,\"text\":\"douleur\"},"
               "{\"at\":\"2025-11-22T00:00:00Z\",\"by\":\"ines\",\"heard\":{\"at\":\"2025-11-22T00:00:00Z\",\"by\":"
               "\"martin\"}}],\"returned\":{\"at\":\"2025-11-22T00:00:00Z\",\"label\":\"Qualité\"},\"records\":["
               "{\"id\":\"R-3\",\"superseded\":true,\"subject_differs\":true},"
               "{\"id\":\"R-4\",\"created\":\"2025-11-22T00:00:00Z\",\"taken\":\"2025-11-21T00:00:00Z\","
               "\"subject_differs\":true,\"confirmed\":{\"by\":\"ines\",\"reason\":\"nom de jeune fille\"}},"
               "{\"id\":\"R-5\",\"created\":\"2025-11-20T00:00:00Z\",\"taken\":null,\"subject_differs\":true},"
               "{\"id\":\"R-6\",\"subject_differs\":null},{\"id\":\"R-7\",\"subject_differs\":false}]}"});
  assert_int_equal(RUN("show", "S-2"), CTL_OK);
  has(out_text, "\nSuivi            : W-3, protocole bpco\n");
  has(out_text, "\nURGENT depuis    : 22/11/2025 01:00\n");
  has(out_text, "\nLecteur          : médecin\n");
  has(out_text, "\nAdressé          : ophtalmologiste, le 22/11/2025 01:00 par martin : avis ?\n"
                "Adressé          : médecin, le 22/11/2025 01:00 par olga\n"
                "Renvoyé          : le 22/11/2025 01:00 par martin : Qualité ; tremblé\n"
                "Refait par       : S-3\nRefait           : S-1\n");
  assert_int_equal(RUN("show", "S-3"), CTL_OK);
  has_not(out_text, "Suivi");
  has_not(out_text, "URGENT");
  has_not(out_text, "Refait");
  has_not(out_text, "Renvoyé");
  has(out_text, "\nCorrigée pour    : relecture\nConclusion       : anormal\nRythme           : sinusal\n"
                "Signes           : bloc de branche droit, allongement de l'intervalle QT\n\nx\n");
  assert_int_equal(RUN("show", "S-3"), CTL_OK);
  has(out_text, "\nConclusion       : anormal\n");
  has_not(out_text, "Rythme");
  assert_int_equal(RUN("show", "S-4"), CTL_OK);
  has(out_text, "\nAppel            : 22/11/2025 01:00, pas encore entendu : douleur\n"
                "Appel            : 22/11/2025 01:00, entendu par martin le 22/11/2025 01:00\n");
  has(out_text, "\nRemarque         : essoufflée\n"
                "Attention        : le fichier porte une autre identité que le patient (voir asaleectl show R-4) ; "
                "confirmé par ines : nom de jeune fille\n"
                "Attention        : le fichier porte une autre identité que le patient (voir asaleectl show R-5)\n"
                "Attention        : l'identité que porte le fichier ne peut pas être relue (R-6)\n"
                "Renvoyé          : le 22/11/2025 01:00 : Qualité\n");
  has(out_text, "\nR-4             21/11/2025 01:00");
  has(out_text, "\nR-5             20/11/2025 01:00");
  free(played(pid));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_usage),    cmocka_unit_test(test_usage_ins),     cmocka_unit_test(test_json),
      cmocka_unit_test(test_accounts), cmocka_unit_test(test_professionals), cmocka_unit_test(test_delegations),
      cmocka_unit_test(test_absences), cmocka_unit_test(test_protocols),     cmocka_unit_test(test_me),
      cmocka_unit_test(test_ins),      cmocka_unit_test(test_lookup),        cmocka_unit_test(test_followups),
      cmocka_unit_test(test_order),    cmocka_unit_test(test_notices),       cmocka_unit_test(test_queue),
      cmocka_unit_test(test_findings), cmocka_unit_test(test_amend),         cmocka_unit_test(test_shown),
      cmocka_unit_test(test_preview),  cmocka_unit_test(test_draft),         cmocka_unit_test(test_return_and_refer),
      cmocka_unit_test(test_versions), cmocka_unit_test(test_forms),         cmocka_unit_test(test_show),
  };
  return cmocka_run_group_tests_name("ctl_protocol", tests, bed_open, bed_close);
}
