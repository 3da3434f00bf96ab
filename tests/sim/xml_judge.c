#include "xml_judge.h"

#include <ctype.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <stdlib.h>
#include <string.h>

struct xml_judge {
  xmlDoc *doc;
  xmlChar *text;
};

struct xml_judge *xml_judge_open(const void *bytes, size_t n) {
  struct xml_judge *judge = calloc(1, sizeof(*judge));
  if (!judge)
    return NULL;
  judge->doc = xmlReadMemory(bytes, (int)n, "judged.xml", NULL,
                             XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_HUGE);
  if (!judge->doc) {
    free(judge);
    return NULL;
  }
  return judge;
}

void xml_judge_close(struct xml_judge *judge) {
  if (!judge)
    return;
  xmlFree(judge->text);
  xmlFreeDoc(judge->doc);
  free(judge);
}

/* "/a" becomes "/" "*[local-name()='a']"; what is in brackets and after an @ stays. */
static void write_out(const char *path, char *to, size_t size) {
  size_t n = 0;
  while (*path && n + 64 < size) {
    if (*path == '[') {
      while (*path && *path != ']')
        to[n++] = *path++;
      to[n++] = ']';
      path += *path == ']';
    } else if (isalpha((unsigned char)*path)) {
      int len = (int)strcspn(path, "/[@");
      n += (size_t)snprintf(to + n, size - n, "*[local-name()='%.*s']", len, path);
      path += len;
    } else if (*path == '@') {
      while (*path && *path != '[')
        to[n++] = *path++;
    } else {
      to[n++] = *path++;
    }
  }
  to[n] = '\0';
}

static xmlXPathObject *find(const struct xml_judge *judge, const char *path) {
  char full[1024];
  write_out(path, full, sizeof(full));
  xmlXPathContext *context = xmlXPathNewContext(judge->doc);
  if (!context)
    return NULL;
  xmlXPathObject *found = xmlXPathEvalExpression((const xmlChar *)full, context);
  xmlXPathFreeContext(context);
  return found;
}

unsigned xml_judge_count(const struct xml_judge *judge, const char *path) {
  xmlXPathObject *found = find(judge, path);
  unsigned n = found && found->nodesetval ? (unsigned)found->nodesetval->nodeNr : 0;
  xmlXPathFreeObject(found);
  return n;
}

const char *xml_judge_text(struct xml_judge *judge, const char *path) {
  xmlXPathObject *found = find(judge, path);
  xmlFree(judge->text);
  judge->text = NULL;
  if (found && found->nodesetval && found->nodesetval->nodeNr > 0)
    judge->text = xmlNodeGetContent(found->nodesetval->nodeTab[0]);
  xmlXPathFreeObject(found);
  return judge->text ? (const char *)judge->text : "";
}

long xml_judge_base64(const char *text, uint8_t *ret, size_t max) {
  size_t n = 0;
  uint32_t bits = 0;
  unsigned have = 0;
  for (; *text && *text != '='; text++) {
    unsigned c = (unsigned char)*text;
    if (isspace((int)c))
      continue;
    unsigned v = c >= 'A' && c <= 'Z'   ? c - 'A'
                 : c >= 'a' && c <= 'z' ? c - 'a' + 26
                 : c >= '0' && c <= '9' ? c - '0' + 52
                 : c == '+'             ? 62
                 : c == '/'             ? 63
                                        : 64;
    if (v == 64 || n == max)
      return -1;
    bits = bits << 6 | v;
    have += 6;
    if (have >= 8) {
      have -= 8;
      ret[n++] = (uint8_t)(bits >> have);
    }
  }
  return (long)n;
}
