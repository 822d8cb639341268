// SPDX-License-Identifier: MIT
// Writes files, reads them back, renames and removes them, and says how many bytes that was: FOLDER FILES
//
// With UV_USE_IO_URING=1 libuv 1.45 to 1.48 do most of it by io_uring.
const { open, rename, unlink } = require('fs/promises');

async function main(folder, files) {
	const told = { write: 0, written: 0, read: 0, taken: 0 };
	for (let number = 0; number < files; number++) {
		const file = await open(`${folder}/file-${number}`, 'wx+');
		const length = 1 + ((number * 37) % 5000);
		told.written += (await file.write(Buffer.alloc(length, 65), 0, length, 0)).bytesWritten;
		told.written += (await file.writev([Buffer.alloc(10), Buffer.alloc(number)], length)).bytesWritten;
		told.write += 2;
		await file.datasync();
		told.taken += (await file.read(Buffer.alloc(8192), 0, 8192, 3)).bytesRead;
		told.taken += (await file.read(Buffer.alloc(8192), 0, 8192, 1 << 20)).bytesRead;
		told.read += 2;
		await file.close();
		await rename(`${folder}/file-${number}`, `${folder}/other-${number}`);
		if (number % 2) await unlink(`${folder}/other-${number}`);
	}
	console.log(JSON.stringify(told));
}

main(process.argv[2], Number(process.argv[3]));
