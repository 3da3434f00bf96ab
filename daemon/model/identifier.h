/* Identifiers of French health care: whether one can be right, and what the DataMatrix of a patient's INS says. Pure:
 * a right form says nothing of whether such a person or place exists.
 *
 * Sources. RPPS: the Agence du Numérique en Santé (11 digits, the last by Luhn). FINESS: Luhn fits the register's
 * numbers; no text on Corsica's was found, but the check digits of 18 of them, in the acts of the prefectures 2A and 2B
 * of 2024 and 2025, are right with A as 1 and B as 2, and with no other value. NIR: décret n° 82-103, art. 4, and for
 * the key INSEE, xml.insee.fr/schema/nir.html; the special months, the first digits 3, 4, 7 and 8 and the bounds of the
 * place as public validators have them. The NIA is made like it (circulaire DSS/SD4C/2012/213). OIDs: FR Core
 * (hl7.fr/ig/fhir/core). Status: référentiel national d'identitovigilance. DataMatrix: Agence du Numérique en Santé,
 * Datamatrix INS v2.2, as programs that cite it write and read it; that the order is free and S7 may lack is seen in
 * theirs.
 */
#ifndef ASALEED_IDENTIFIER_H
#define ASALEED_IDENTIFIER_H

#include <stdbool.h>
#include <stddef.h>

/* A person's number in the RPPS: 11 digits, the last by Luhn, not all zeros. */
bool rpps_is_valid(const char *text);

/* A place's number in FINESS: 9 digits, the last by Luhn, not all zeros; Corsica's begin with 2A or 2B. */
bool finess_is_valid(const char *text);

/* ---- INS: a matricule and who gave it ---- */

#define INS_MATRICULE 15 /* characters: 13 and the key */

enum ins_authority { INS_NIR, INS_NIA, INS_TEST, INS_DEMO, INS_AUTHORITIES };

struct ins {
  char matricule[INS_MATRICULE + 1];
  enum ins_authority authority;
};

const char *ins_oid(enum ins_authority authority);
bool ins_authority_find(const char *oid, enum ins_authority *ret);
/* Nobody's: made for tests or demonstrations. */
bool ins_is_fictitious(enum ins_authority authority);

/* Form and key:
 *   1  1 or 2; 3, 4, 7 or 8 while the registration is under way
 *   2  year
 *   2  month 01..12; 20..42 and 50..99 where the civil status is incomplete
 *   5  place of birth: department 01..99, 2A or 2B, and 001..990; of 97 and 98 three characters, and 01..90
 *   3  001..999
 *   2  key: 97 less the rest of the 13 by 97, 2A read as 19 and 2B as 18
 */
bool ins_is_valid(const char *matricule);

/* How far an identity can be trusted. The matricule may go to others with a qualified one only. */
enum ins_status { INS_PROVISIONAL, INS_RETRIEVED, INS_VALIDATED, INS_QUALIFIED, INS_STATUSES };

const char *ins_status_name(enum ins_status status); /* "provisional", as the database has it */
bool ins_status_find(const char *name, enum ins_status *ret);
bool ins_may_be_sent(enum ins_status status);

/* ---- the DataMatrix ---- */

#define INS_NAME_MAX 100

struct ins_datamatrix {
  struct ins ins;
  char given_names[INS_NAME_MAX + 1];      /* all, in the order of the civil status, a space between two */
  char first_given_name[INS_NAME_MAX + 1]; /* up to the first space: what is one with a space in it cannot be told */
  char birth_family_name[INS_NAME_MAX + 1];
  char sex;            /* 'M' or 'F' */
  char birth_date[11]; /* YYYY-MM-DD */
  char birth_place[6]; /* INSEE's code of the commune, or 99 and the country's; "" when the sheet does not say it */
};

/* What a scanner gives for it: "IS01" and 22 zeros, then each field once, in any order, S7 only where it is known:
 *   S1 matricule (15)   S2 OID (up to 20)   S3 given names (up to 100)   S4 birth name (up to 100)
 *   S5 M or F           S6 DD-MM-YYYY       S7 place of birth (5)
 * S2 to S4 end with GS (0x1D) where they are shorter than that. A CR, LF or CR LF after the text is the scanner's; with
 * it, and not without, the last field may lack its GS: it shows that nothing was cut off. Names are A to Z, space,
 * hyphen and apostrophe. No symbology prefix, no other character in GS's place.
 *
 * -EPROTO: not this text, or not all of it; -EBADMSG: the key is wrong; -ERANGE: a value that cannot be. Then alone
 * *ret_what is set, to a constant: "datamatrix", "matricule", "oid", "given_names", "birth_family_name", "sex",
 * "birth_date" or "birth_place"; *ret is untouched. */
int ins_datamatrix_parse(const char *bytes, size_t n, struct ins_datamatrix *ret, const char **ret_what);

#endif
