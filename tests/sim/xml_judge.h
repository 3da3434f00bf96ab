/* What libxml2 makes of an XML file: the judge of the writers in this folder, which share no code with it. Elements are
 * asked for by XPath; the short form "/a/b//c" of local names is written out so that namespaces do not matter. */
#ifndef ASALEED_SIM_XML_JUDGE_H
#define ASALEED_SIM_XML_JUDGE_H

#include <stddef.h>
#include <stdint.h>

struct xml_judge;

/* NULL when it is not well-formed. Entities are not replaced. */
struct xml_judge *xml_judge_open(const void *bytes, size_t n);
void xml_judge_close(struct xml_judge *judge);

/* How many elements or attributes there are of this path: "//lead", "//lead[2]/scale/@unit". */
unsigned xml_judge_count(const struct xml_judge *judge, const char *path);
/* The text of the first, UTF-8; "" when there is none. Valid until the next call. */
const char *xml_judge_text(struct xml_judge *judge, const char *path);

/* Decodes base64 with white space in it; the number of bytes, or -1. */
long xml_judge_base64(const char *text, uint8_t *ret, size_t max);

#endif
