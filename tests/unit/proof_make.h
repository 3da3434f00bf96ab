/* Proofs for tests: two GPs, three versions, a retinography. */
#ifndef PROOF_MAKE_H
#define PROOF_MAKE_H

#include "proof.h"

#define PROOF_FIRST_US INT64_C(1774745999123456)

/* The same secret for the same number (0: the site, 1: Dr Dupont, 2: Dr Martin). */
void proof_make_secret(unsigned who, uint8_t ret[static SIGNATURE_SECRET]);

/* An ECG, S-12, without its seal. Version 1 by Dr Dupont; 2 amends it, by Dr Martin through the practice software, with
 * a second record; 3, after 2 was withdrawn, by Dr Dupont. `versions`: how many of them. */
json_t *proof_make_open(unsigned versions);
json_t *proof_make(unsigned versions); /* sealed */

/* Signs the i-th interpretation's statement as it now is. */
void proof_make_sign(json_t *proof, size_t i, unsigned who);

#endif
