# Writes records with the redirections that scripts use. $1 is >> or >.
put() {
	if [ "$1" = '>>' ]; then
		printf '%s %d %d %s.\n' "$W_ID" "$2" "${#W_FILLER}" "$W_FILLER" >> "$W_PATH"
	else
		printf '%s %d %d %s.\n' "$W_ID" "$2" "${#W_FILLER}" "$W_FILLER" > "$W_PATH"
	fi
}

i=0
while [ ! -e "$W_STOP" ] && [ -d "/proc/$PPID" ]; do
	if put "$1" "$i"; then
		echo "a $i" >> "$W_NOTES"
	else
		echo "f $i sh" >> "$W_NOTES"
	fi
	i=$((i + 1))
	sleep "$W_EVERY"
done
