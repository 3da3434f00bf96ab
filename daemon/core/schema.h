/* The texts that make the store's tables; NULL ends them. */
#ifndef ASALEED_SCHEMA_H
#define ASALEED_SCHEMA_H

extern const char *const schema_migrations[];

#endif
