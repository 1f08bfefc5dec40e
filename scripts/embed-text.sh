#!/bin/sh
# A text file as lines of a C string, for a program that carries it along.
exec sed 's/[\\"]/\\&/g; s/.*/"&\\n"/' "$1"
