package harness

import (
	"context"
	_ "embed"
	"os"
	"os/exec"
	"strconv"
)

//go:embed writer.sh
var shellWriter string

//go:embed writer.py
var pythonWriter string

func (w *Writer) environment() []string {
	return append(os.Environ(),
		"W_ID="+w.ID, "W_PATH="+w.Path, "W_NOTES="+w.notes(), "W_STOP="+w.stop(), "W_REPORT="+w.report(),
		"W_EVERY="+strconv.FormatFloat(w.Every.Seconds(), 'f', -1, 64), "W_FILLER="+filler)
}

func (w *Writer) shell(ctx context.Context) *exec.Cmd {
	how := ">>"
	if w.Kind == ShellOver {
		how = ">"
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", shellWriter, "writer.sh", how)
	cmd.Env = w.environment()
	return cmd
}

func (w *Writer) python(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "python3", "-c", pythonWriter)
	cmd.Env = w.environment()
	return cmd
}
