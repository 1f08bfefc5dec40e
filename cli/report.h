/* A report for people: text, and the exit code that it means. */
#pragma once

#include <jansson.h>

void report_print(const json_t *report);
/** report_exit_code() - met 0, missed 3, unknown 4; refused before it started 5, halted 6 */
int report_exit_code(const json_t *report);
