/* Messages of a daemon: for people on a terminal, JSON lines otherwise, to the journal where that listens.
 * Only main() files log. */
#pragma once

#include "cleanup.h"

enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};

/** log_open() - choose the form by what stderr is; @program names us */
void log_open(const char *program);
void log_print(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_error(...)   log_print(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_print(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_print(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_print(LOG_LEVEL_INFO, __VA_ARGS__)

/** log_fault() - start or end of a fault: a journal message with MESSAGE_ID @id (32 hex digits) and
 * GRIVET_RUN, GRIVET_ORDER */
void log_fault(const char *id, const char *run, const char *order, const char *format, ...) _printf_(4, 5);
