package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// readTarget takes the manifests in the target, then what all its objects say.
func (k *known) readTarget(ctx context.Context, s backend.Store, live map[journal.SourceID]liveSource) error {
	for _, uid := range k.instances() {
		if err := k.readTargetManifests(ctx, s, uid); err != nil {
			return err
		}
	}
	return audit.Walk(ctx, s, func(i backend.Info) error {
		if !strings.HasPrefix(string(i.Key), ManifestName+"/") {
			k.takeObject(i, live)
		}
		return nil
	})
}

func (k *known) readTargetManifests(ctx context.Context, s backend.Store, uid string) error {
	dir := backend.Key(ManifestName).Join(uid)
	var names []string
	err := s.List(ctx, dir, "", func(name string, _ backend.Info) error {
		id, err := strconv.ParseUint(strings.TrimSuffix(name, ".json"), 10, 64)
		if _, have := k.manifests[id]; err == nil && !have && id > k.baseLast {
			names = append(names, name)
		}
		return nil
	})
	if errors.Is(err, backend.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if err != nil {
			return err
		}
		var body io.ReadCloser
		if body, err = s.Open(ctx, dir.Join(name), 0, -1); err != nil {
			return err
		}
		var data []byte
		data, err = io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err == nil {
			k.takeManifest(string(dir.Join(name)), data)
		}
	}
	return err
}

// takeObject takes what an object of ours says of itself: it is there, so what
// is in it is finished.
func (k *known) takeObject(i backend.Info, live map[journal.SourceID]liveSource) {
	uid := i.Meta[MetaInstance]
	switch {
	case uid == "" || !i.Owned:
		return
	case !k.uids[uid]:
		for _, r := range parseRanges(i.Meta[MetaRanges]) {
			if _, ok := live[r.Source]; ok {
				k.strangers[uid]++
				break
			}
		}
		return
	}
	k.objects++
	k.seen[i.Key] = true
	if i.Size > k.stageAbove { // an attempt before it may have been left
		k.keys = append(k.keys, i.Key)
	}
	p, err := partOf(i)
	if err != nil {
		k.gap("the object %q of this instance does not say which part it is: %v", string(i.Key), err)
		return
	}
	if old, ok := k.parts[p.ID]; ok && len(p.Ranges) == 0 {
		p.Ranges = old.Ranges
	}
	k.takePart(p)
	k.finished[p.ID] = fmt.Sprintf("object %q", string(i.Key))
}

// partOf is a part as its object tells of it.
func partOf(i backend.Info) (journal.Part, error) {
	p := journal.Part{
		Sink: i.Meta[MetaSink], Key: string(i.Key), Bytes: i.Size, Checksum: i.Checksum, State: journal.Finished,
		Ranges: parseRanges(i.Meta[MetaRanges]), Mode: i.Mode, UID: i.UID, GID: i.GID, ModTime: i.ModTime,
	}
	var attempt uint64
	for key, to := range map[string]*uint64{MetaPart: &p.ID, MetaN: &p.N, MetaAttempt: &attempt} {
		n, err := strconv.ParseUint(i.Meta[key], 10, 63)
		if err != nil {
			return p, err
		}
		*to = n
	}
	p.Attempt = uint32(attempt)
	p.Records, _ = strconv.ParseInt(i.Meta[MetaRecords], 10, 64) // it decides nothing
	return p, nil
}

// parseRanges reads what meta wrote; nil when it is not that.
func parseRanges(text string) []journal.PartRange {
	if text == "" {
		return nil
	}
	var all []journal.PartRange
	for item := range strings.SplitSeq(text, ",") {
		var r journal.PartRange
		if n, err := fmt.Sscanf(item, "%d.%d:%d+%d", &r.Source.Ino, &r.Source.Gen, &r.Off, &r.Len); n != 4 || err != nil {
			return nil
		}
		all = append(all, r)
	}
	return all
}
