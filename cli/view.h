/* What a run is doing, for people: once as text, or redrawn in place on a terminal. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/** struct view - @n_lines: how many are drawn and have to be cleared before anything else is printed */
struct view {
    size_t n_lines;
};

/** view_clear() - takes the drawing off the terminal */
void view_clear(struct view *view);
/** view_draw() - hosts with countdown, endpoints; as many as the terminal has room for */
void view_draw(struct view *view, const json_t *status);
/** view_print() - all of it, once */
void view_print(const json_t *status);
